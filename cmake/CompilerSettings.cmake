# What every target is compiled with: C++20, hidden symbols, position-independent code, optimised unless told otherwise.
find_package(Threads REQUIRED)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(deepplan_settings INTERFACE)
target_compile_features(deepplan_settings INTERFACE cxx_std_20)
if(DEEPPLAN_WERROR)
  target_compile_options(deepplan_settings INTERFACE -Wall -Wextra -Werror)
endif()
if(DEEPPLAN_SANITIZE)
  # A sanitizer must see every library it judges, and torch was not built with one.
  set(DEEPPLAN_TORCH OFF)
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${DEEPPLAN_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer;-g;-O1>")
  add_link_options("-fsanitize=${DEEPPLAN_SANITIZE}")
endif()
