// The extension module deepplan._native: translation only, one bind_* function for each part of the runtime.
#include <pybind11/pybind11.h>

PYBIND11_MODULE(_native, module) {
  module.doc() = "deepplan's runtime in C++; import it as deepplan._core";
}
