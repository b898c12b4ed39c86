#include <pybind11/complex.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/error.h"
#include "python/bindings.h"
#include "torch/program.h"

namespace py = pybind11;

namespace deepplan {
namespace {

// The tags of deepplan.export.arguments, by class name.
Argument to_tagged_argument(py::handle value) {
  const auto tag = py::type::handle_of(value).attr("__name__").cast<std::string>();
  if (tag == "Slot") return {Slot{value.attr("index").cast<int>()}};
  if (tag == "WeightRef") return {WeightReference{value.attr("index").cast<int>()}};
  if (tag == "DType") return {DtypeArgument{value.attr("name").cast<std::string>()}};
  if (tag == "Layout") return {LayoutArgument{value.attr("name").cast<std::string>()}};
  if (tag == "MemoryFormat") return {MemoryFormatArgument{value.attr("name").cast<std::string>()}};
  if (tag == "Device") return {DeviceArgument{value.attr("kind").cast<std::string>()}};
  throw InvalidArgument("a graph cannot hold a " + tag);
}

// Python's bool is an int: it must be asked first.
Argument to_argument(py::handle value) {
  if (value.is_none()) return {NoneArgument{}};
  if (py::isinstance<py::bool_>(value)) return {value.cast<bool>()};
  if (py::isinstance<py::int_>(value)) return {value.cast<int64_t>()};
  if (py::isinstance<py::float_>(value)) return {value.cast<double>()};
  if (PyComplex_Check(value.ptr())) return {value.cast<std::complex<double>>()};
  if (py::isinstance<py::str>(value)) return {value.cast<std::string>()};
  if (py::isinstance<py::tuple>(value)) {
    Argument::List list;
    for (const py::handle item : value) list.push_back(to_argument(item));
    return {std::move(list)};
  }
  return to_tagged_argument(value);
}

Step to_step(py::handle value) {
  Step step{.op = value.attr("op").cast<std::string>(),
            .overload = value.attr("overload").cast<std::string>(),
            .arguments = {},
            .keyword_arguments = {},
            .outputs = value.attr("outputs").cast<std::vector<int>>(),
            .frees = value.attr("frees").cast<std::vector<int>>()};
  for (const py::handle argument : value.attr("args")) step.arguments.push_back(to_argument(argument));
  for (const auto& [name, argument] : value.attr("kwargs").cast<py::dict>()) {
    step.keyword_arguments.emplace(name.cast<std::string>(), to_argument(argument));
  }
  return step;
}

Layer to_layer(py::handle value) {
  const auto [begin, end] = value.attr("steps").cast<std::pair<int, int>>();
  return {.name = value.attr("name").cast<std::string>(),
          .begin = begin,
          .end = end,
          .storages = value.attr("storages").cast<std::vector<int>>()};
}

WeightSpec to_weight(py::handle value) {
  return {.name = value.attr("name").cast<std::string>(),
          .storage = value.attr("storage").cast<int>(),
          .dtype = value.attr("dtype").cast<std::string>(),
          .shape = value.attr("shape").cast<std::vector<int64_t>>(),
          .stride = value.attr("stride").cast<std::vector<int64_t>>(),
          .offset_bytes = value.attr("offset_bytes").cast<int64_t>()};
}

Graph to_graph(py::handle value) {
  Graph graph;
  graph.slot_count = value.attr("slots").cast<int>();
  for (const py::handle input : value.attr("inputs")) {
    if (input.attr("kind").cast<std::string>() != "tensor") continue;  // fixed at export: no step reads it
    graph.inputs.push_back({.name = input.attr("name").cast<std::string>(),
                            .dtype = input.attr("dtype").cast<std::string>(),
                            .shape = input.attr("shape").cast<std::vector<int64_t>>(),
                            .slot = input.attr("slot").cast<int>()});
  }
  for (const py::handle storage : value.attr("storages")) {
    graph.storage_bytes.push_back(storage.attr("size_bytes").cast<std::size_t>());
  }
  for (const py::handle weight : value.attr("weights")) graph.weights.push_back(to_weight(weight));
  for (const py::handle step : value.attr("steps")) graph.steps.push_back(to_step(step));
  for (const py::handle layer : value.attr("layers")) graph.layers.push_back(to_layer(layer));
  for (const py::handle output : value.attr("outputs")) graph.outputs.push_back(to_argument(output));
  return graph;
}

}  // namespace

void bind_graph(py::module_& module) {
  py::class_<Program, std::shared_ptr<Program>>(module, "Program")
      .def(py::init([](py::handle graph, const std::string& device) {
             return std::make_shared<Program>(to_graph(graph), c10::Device(device));
           }),
           py::arg("graph"), py::arg("device"));
}

}  // namespace deepplan
