# Compiles csrc/kernels where CUDA support came with an nvcc. Defines the target deepplan_kernels, empty otherwise: then
# everything works but what kernels are for, and Device::can_decode says so.
#
# Only the nvcc of the folder that CUDA was taken from: a kernel registers itself with the runtime it is linked to, and that
# must not be older than the compiler. CUDACXX or CMAKE_CUDA_COMPILER name another one, on one's own account.
set(DEEPPLAN_KERNELS_FOUND FALSE)
set(kernel_support "none (no CUDA support)")
if(DEEPPLAN_CUDA_FOUND)
  set(kernel_support "none (no nvcc at ${DEEPPLAN_CUDA_ROOT}/bin)")
  find_program(own_nvcc nvcc PATHS "${DEEPPLAN_CUDA_ROOT}/bin" NO_DEFAULT_PATH NO_CACHE)
  if(own_nvcc AND NOT DEFINED ENV{CUDACXX})
    set(ENV{CUDACXX} "${own_nvcc}")
  endif()
  if(NOT DEFINED ENV{CUDAHOSTCXX} AND NOT DEFINED CMAKE_CUDA_HOST_COMPILER AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(ENV{CUDAHOSTCXX} "${CMAKE_CXX_COMPILER}")
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    unset(CMAKE_CUDA_COMPILER CACHE)  # what an earlier run could not use may have been repaired
  endif()
  if(DEFINED CMAKE_CUDA_COMPILER OR DEFINED ENV{CUDACXX})
    # In a project of its own first: enable_language would end the build, for instance where the C++ compiler is too new.
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      set(DEEPPLAN_KERNELS_FOUND TRUE)
    else()
      set(kernel_support "none ($ENV{CUDACXX} cannot compile with $ENV{CUDAHOSTCXX}: CUDAHOSTCXX may name an older compiler)")
    endif()
  endif()
endif()

if(DEEPPLAN_KERNELS_FOUND)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)  # and what 90 has as PTX, for newer ones
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # deepplan_cuda has it
  enable_language(CUDA)
  file(GLOB kernel_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/csrc/kernels/*.cu")
  add_library(deepplan_kernels STATIC ${kernel_sources})
  set_target_properties(deepplan_kernels PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF)
  target_include_directories(deepplan_kernels PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/csrc")
  target_link_libraries(deepplan_kernels PUBLIC deepplan_cuda)
  target_compile_definitions(deepplan_kernels INTERFACE DEEPPLAN_WITH_KERNELS=1)
  if(DEEPPLAN_WERROR)
    target_compile_options(deepplan_kernels PRIVATE -Werror=all-warnings -Xcompiler=-Wall,-Wextra)
  endif()
  string(REPLACE ";" " " architectures "${CMAKE_CUDA_ARCHITECTURES}")
  set(kernel_support "nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${architectures}")
else()
  add_library(deepplan_kernels INTERFACE)
endif()
message(STATUS "deepplan: CUDA kernels: ${kernel_support}")
