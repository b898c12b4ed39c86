# Finds LibTorch inside the torch package, by asking Python where that is, and defines the target deepplan_libtorch.
#
# Not find_package(Torch): with a CUDA torch and no CUDA toolkit it stops the build. c10_cuda is never linked, so that one
# source builds against CPU and CUDA torch alike and imports on a machine without a driver.
find_package(Python 3.10 COMPONENTS Interpreter Development.Module)

set(DEEPPLAN_TORCH_FOUND FALSE)
if(DEEPPLAN_TORCH STREQUAL "OFF" OR NOT Python_FOUND)
  message(STATUS "deepplan: torch: not used, building the torch-free part only")
  return()
endif()

set(probe "${CMAKE_CURRENT_SOURCE_DIR}/build_backend/deepplan_build/target_torch.py")
execute_process(COMMAND "${Python_EXECUTABLE}" "${probe}" "${DEEPPLAN_TORCH_DIR}"
                OUTPUT_VARIABLE found ERROR_VARIABLE refused RESULT_VARIABLE status OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT status EQUAL 0)
  if(DEEPPLAN_TORCH STREQUAL "ON")
    message(FATAL_ERROR "${refused}")
  endif()
  message(STATUS "deepplan: torch: none, building the torch-free part only. ${refused}")
  return()
endif()
list(GET found 0 torch_dir)
list(GET found 1 DEEPPLAN_TORCH_VERSION)
list(GET found 2 DEEPPLAN_TORCH_CUDA)
set(DEEPPLAN_TORCH_FOUND TRUE)
message(STATUS "deepplan: torch: ${DEEPPLAN_TORCH_VERSION} at ${torch_dir}")

# torch >= 2.11 is always built with the C++11 ABI of libstdc++, the compiler's default. libtorch_python is for the module
# alone: a program that is no interpreter cannot resolve its symbols.
add_library(deepplan_libtorch INTERFACE)
target_include_directories(deepplan_libtorch SYSTEM INTERFACE
  "${torch_dir}/include" "${torch_dir}/include/torch/csrc/api/include")
# On every command line, so that objects in a cached build folder are never linked against another torch.
target_compile_definitions(deepplan_libtorch INTERFACE "DEEPPLAN_TORCH_VERSION=${DEEPPLAN_TORCH_VERSION}")
foreach(library c10 torch_cpu torch)
  target_link_libraries(deepplan_libtorch INTERFACE "${torch_dir}/lib/lib${library}.so")
endforeach()
