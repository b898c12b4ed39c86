# The extension module deepplan._native (deepplan/_core.py checks torch, then loads it), and where it goes.
execute_process(COMMAND "${Python_EXECUTABLE}" -m pybind11 --cmakedir
                OUTPUT_VARIABLE pybind11_hint OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 2.13 CONFIG REQUIRED HINTS "${pybind11_hint}")

file(GLOB module_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/csrc/python/*.cpp")
pybind11_add_module(_native MODULE NO_EXTRAS ${module_sources})
# pybind11 first: torch's headers carry a copy of their own.
target_link_libraries(_native PRIVATE pybind11::module deepplan_torch deepplan_serving "${torch_dir}/lib/libtorch_python.so")
set_target_properties(_native PROPERTIES INSTALL_RPATH "$ORIGIN/../torch/lib")

configure_file("${CMAKE_CURRENT_SOURCE_DIR}/cmake/_built_with.py.in" "${CMAKE_CURRENT_BINARY_DIR}/_built_with.py" @ONLY)
install(TARGETS _native LIBRARY DESTINATION deepplan)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/_built_with.py" DESTINATION deepplan)

if(NOT SKBUILD)
  # The plain route: build/python is a folder to put on PYTHONPATH, with the package's own files linked, not copied.
  set(package "${CMAKE_CURRENT_BINARY_DIR}/python/deepplan")
  file(MAKE_DIRECTORY "${package}")
  file(GLOB package_entries CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/deepplan/*")
  list(FILTER package_entries EXCLUDE REGEX "__pycache__$")
  foreach(entry IN LISTS package_entries)
    get_filename_component(name "${entry}" NAME)
    file(CREATE_LINK "${entry}" "${package}/${name}" SYMBOLIC)
  endforeach()
  file(CREATE_LINK "${CMAKE_CURRENT_BINARY_DIR}/_built_with.py" "${package}/_built_with.py" SYMBOLIC)
  set_target_properties(_native PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${package}")
endif()
