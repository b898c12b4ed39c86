# DEEPPLAN_CUDA = AUTO | ON | OFF, as a cache entry or an environment variable. Defines the target deepplan_cuda.
#
# Only the runtime's headers and its static library are needed, no compiler for device code: so the files that a CUDA
# torch from a package index brings along do where there is no toolkit.
set(cuda_wanted AUTO)
if(NOT "$ENV{DEEPPLAN_CUDA}" STREQUAL "")
  set(cuda_wanted "$ENV{DEEPPLAN_CUDA}")
endif()
if(NOT "${DEEPPLAN_CUDA}" STREQUAL "")
  set(cuda_wanted "${DEEPPLAN_CUDA}")
endif()
string(TOUPPER "${cuda_wanted}" cuda_wanted)
if(NOT cuda_wanted MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "deepplan: DEEPPLAN_CUDA is '${cuda_wanted}': it must be AUTO, ON or OFF")
endif()

# Where a toolkit may lie, first match wins; CUDA_HOME and CUDA_PATH are the usual variables.
find_program(nvcc nvcc NO_CACHE)
get_filename_component(nvcc "${nvcc}" REALPATH)
get_filename_component(nvcc_root "${nvcc}/../.." ABSOLUTE)
if(NOT DEFINED DEEPPLAN_CUDA_ROOTS)
  set(DEEPPLAN_CUDA_ROOTS "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}" "${nvcc_root}" /usr/local/cuda /usr)
  list(REMOVE_ITEM DEEPPLAN_CUDA_ROOTS "")
endif()

set(oldest_cuda 12.0)
add_library(deepplan_cuda INTERFACE)
set(DEEPPLAN_CUDA_FOUND FALSE)
set(DEEPPLAN_CUDA_SUPPORT "none (host device only)")

# Takes CUDA from the folder `root`, unless it was taken before or is not all there, or too old. The headers in crt/ may
# lie in a folder of their own, given last: the packages that CUDA 13 comes in leave them out.
macro(deepplan_take_cuda origin root)
  file(GLOB cuda_header "${root}/include/cuda_runtime_api.h" "${root}/targets/*/include/cuda_runtime_api.h")
  file(GLOB cuda_library "${root}/lib64/libcudart_static.a" "${root}/lib/libcudart_static.a"
       "${root}/targets/*/lib/libcudart_static.a" "${root}/lib/*-linux-gnu/libcudart_static.a")
  list(TRANSFORM cuda_header REPLACE "cuda_runtime_api.h$" "crt/host_defines.h" OUTPUT_VARIABLE cuda_crt)
  file(GLOB cuda_crt ${cuda_crt} "${ARGN}/crt/host_defines.h")
  if(cuda_header AND cuda_crt AND cuda_library AND NOT DEEPPLAN_CUDA_FOUND)
    list(GET cuda_header 0 cuda_header)
    list(GET cuda_crt 0 cuda_crt)
    list(GET cuda_library 0 cuda_library)
    file(STRINGS "${cuda_header}" cuda_number REGEX "^#define CUDART_VERSION +[0-9]+")
    string(REGEX REPLACE "^.* +([0-9]+)[0-9]([0-9])[0-9].*$" "\\1.\\2" cuda_version "${cuda_number}")
    if(cuda_version VERSION_GREATER_EQUAL oldest_cuda)
      set(DEEPPLAN_CUDA_FOUND TRUE)
      set(DEEPPLAN_CUDA_SUPPORT "${cuda_version} (${origin})")
      set(cuda_root " at ${root}")
      set(DEEPPLAN_CUDA_ROOT "${root}")
      get_filename_component(cuda_include "${cuda_header}" DIRECTORY)
      get_filename_component(cuda_crt_include "${cuda_crt}/../.." ABSOLUTE)
      target_include_directories(deepplan_cuda SYSTEM INTERFACE "${cuda_include}" "${cuda_crt_include}")
      target_link_libraries(deepplan_cuda INTERFACE "${cuda_library}" Threads::Threads ${CMAKE_DL_LIBS} rt)
      # A CUDA torch puts its own libcudart into the global scope: exported symbols of ours would be bound to that one.
      target_link_options(deepplan_cuda INTERFACE "LINKER:--exclude-libs,libcudart_static.a")
      target_compile_definitions(deepplan_cuda INTERFACE DEEPPLAN_WITH_CUDA=1)
    endif()
  endif()
endmacro()

if(NOT cuda_wanted STREQUAL "OFF")
  foreach(root IN LISTS DEEPPLAN_CUDA_ROOTS)
    deepplan_take_cuda(toolkit "${root}")
  endforeach()
  if(DEEPPLAN_TORCH_FOUND)
    get_filename_component(site_packages "${torch_dir}/.." ABSOLUTE)
    file(GLOB roots "${site_packages}/nvidia/cu[0-9]*" "${site_packages}/nvidia/cuda_runtime")
    foreach(root IN LISTS roots)
      # triton, which comes with a CUDA torch, has them.
      deepplan_take_cuda("brought by torch" "${root}" "${site_packages}/triton/backends/nvidia/include")
    endforeach()
  endif()
endif()

if(cuda_wanted STREQUAL "ON" AND NOT DEEPPLAN_CUDA_FOUND)
  message(FATAL_ERROR
    "deepplan: DEEPPLAN_CUDA=ON, but there is no CUDA ${oldest_cuda} or newer: neither a toolkit (looked in "
    "${DEEPPLAN_CUDA_ROOTS}) nor the files that a CUDA torch brings along. "
    "Install the CUDA toolkit and point CUDA_HOME at it, or install a CUDA build of torch (with triton, or with "
    "nvidia-cuda-crt), or set DEEPPLAN_CUDA=OFF.")
endif()
message(STATUS "deepplan: CUDA support: ${DEEPPLAN_CUDA_SUPPORT}${cuda_root}")
