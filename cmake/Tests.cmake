# One test program a folder, mirroring csrc: tests/core/stream_test.cpp tests csrc/core/stream.*
find_package(GTest REQUIRED)
include(GoogleTest)
enable_testing()

function(deepplan_tests folder)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/tests/${folder}/*_test.cpp")
  if(NOT DEEPPLAN_CUDA_FOUND)
    list(FILTER sources EXCLUDE REGEX "_cuda_test\\.cpp$")
  endif()
  if(sources)
    add_executable(${folder}_tests ${sources})
    target_include_directories(${folder}_tests PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/tests")
    target_link_libraries(${folder}_tests PRIVATE deepplan_${folder} GTest::gtest_main)
    gtest_discover_tests(${folder}_tests DISCOVERY_TIMEOUT 60)
  endif()
endfunction()

deepplan_tests(core)
deepplan_tests(runtime)
if(DEEPPLAN_TORCH_FOUND)
  deepplan_tests(torch)
endif()
if(DEEPPLAN_TORCH_FOUND)
  # experiments/executor_overhead.py runs it.
  add_executable(executor_overhead experiments/executor_overhead.cpp)
  target_link_options(executor_overhead PRIVATE "LINKER:--as-needed")  # it needs no Python, so not torch_python either
  target_link_libraries(executor_overhead PRIVATE deepplan_torch)
endif()
