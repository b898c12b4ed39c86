#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "python/bindings.h"
#include "serving/simulation.h"

namespace py = pybind11;

namespace deepplan {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

template <typename T>
std::span<const T> span_of(const Array<T>& array, const char* name) {
  if (array.ndim() != 1) throw InvalidArgument(std::string(name) + " must have one dimension");
  return {array.data(), static_cast<std::size_t>(array.size())};
}

// A column as an array over the result's own memory, which the array keeps alive.
template <typename T>
auto column(std::vector<T> SimulatedRequests::* member) {
  return [member](const py::object& result) {
    const std::vector<T>& values = result.cast<const SimulatedRequests&>().*member;
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data(), result);
  };
}

}  // namespace

void bind_serving(py::module_& module) {
  py::class_<BatchCost>(module, "BatchCost")
      .def(py::init<int, double, std::vector<double>, std::vector<std::vector<double>>>(), py::arg("size"),
           py::arg("warm_ms"), py::arg("cold_ms"), py::arg("crowded_ms") = std::vector<std::vector<double>>{});
  py::class_<ServedModel>(module, "ServedModel")
      .def(py::init<std::size_t, std::vector<BatchCost>>(), py::arg("device_bytes"), py::arg("batches"));
  py::class_<SchedulerOptions>(module, "SchedulerOptions")
      .def(py::init<int, std::size_t, double, int, std::vector<bool>, int>(), py::arg("gpus"), py::arg("gpu_bytes"),
           py::arg("objective_ms"), py::arg("most_links") = 1, py::arg("pinned") = std::vector<bool>{},
           py::arg("gpus_per_host") = SchedulerOptions{}.gpus_per_host);
  py::class_<ServingCounters>(module, "ServingCounters")
      .def_readonly("accepted", &ServingCounters::accepted)
      .def_readonly("refused", &ServingCounters::refused)
      .def_readonly("cold_starts", &ServingCounters::cold_starts)
      .def_readonly("evictions", &ServingCounters::evictions)
      .def_readonly("cancelled", &ServingCounters::cancelled);
  py::class_<SimulatedRequests>(module, "SimulatedRequests")
      .def_property_readonly("latency_ms", column(&SimulatedRequests::latency_ms))
      .def_property_readonly("cold", column(&SimulatedRequests::cold))
      .def_property_readonly("refused", column(&SimulatedRequests::refused))
      .def_property_readonly("gpu", column(&SimulatedRequests::gpu))
      .def_readonly("counters", &SimulatedRequests::counters);
  module.def(
      "simulate_serving",
      [](std::vector<ServedModel> models, std::vector<int> instance_model, SchedulerOptions options,
         const Array<double>& arrivals_ms, const Array<std::int32_t>& instances) {
        const auto times = span_of(arrivals_ms, "arrivals_ms");
        const auto whose = span_of(instances, "instances");
        const py::gil_scoped_release released;
        return simulate_serving({std::move(models), std::move(instance_model), std::move(options)}, times, whose);
      },
      py::arg("models"), py::arg("instance_model"), py::arg("options"), py::arg("arrivals_ms"), py::arg("instances"));
}

}  // namespace deepplan
