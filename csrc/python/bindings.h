// One function for each part of the runtime that Python sees. Bindings translate and do nothing else.
#pragma once

#include <pybind11/pybind11.h>

namespace deepplan {

void bind_coding(pybind11::module_& module);
void bind_copies(pybind11::module_& module);
void bind_errors(pybind11::module_& module);
void bind_devices(pybind11::module_& module);
void bind_graph(pybind11::module_& module);
void bind_model_server(pybind11::module_& module);
void bind_serving(pybind11::module_& module);
void bind_session(pybind11::module_& module);

}  // namespace deepplan
