// The extension module deepplan._native: translation only, one bind_* function for each part of the runtime.
#include <pybind11/pybind11.h>

#include "python/bindings.h"

PYBIND11_MODULE(_native, module) {
  module.doc() = "deepplan's runtime in C++; import it as deepplan._core";
  deepplan::bind_errors(module);
  deepplan::bind_coding(module);
  deepplan::bind_copies(module);
  deepplan::bind_devices(module);
  deepplan::bind_graph(module);
  deepplan::bind_serving(module);
  deepplan::bind_session(module);
  deepplan::bind_model_server(module);
}
