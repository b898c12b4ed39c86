// torch's casters first: they must be seen before pybind11's generic ones.
#include <torch/csrc/utils/pybind.h>
//
#include <pybind11/stl.h>

#include <tuple>
#include <utility>

#include "python/bindings.h"
#include "torch/model_server.h"

namespace py = pybind11;

namespace deepplan {
namespace {

// By instance, GPU and ascending batch size.
using GivenSessions = std::vector<std::vector<std::vector<std::pair<int, Session*>>>>;

std::vector<ServedInstance> to_instances(const GivenSessions& given) {
  std::vector<ServedInstance> instances;
  for (const auto& by_gpu : given) {
    ServedInstance& instance = instances.emplace_back();
    for (const auto& by_batch : by_gpu) {
      std::vector<ServedSession>& sessions = instance.emplace_back();
      for (const auto& [batch_size, session] : by_batch) sessions.push_back({batch_size, session});
    }
  }
  return instances;
}

// Its threads end when it goes, and may be waiting for the GIL in a Python operator.
struct DeleteWithoutGil {
  void operator()(ModelServer* server) const {
    const py::gil_scoped_release released;
    delete server;
  }
};

}  // namespace

void bind_model_server(py::module_& module) {
  py::class_<Admission>(module, "Admission")
      .def_readonly("accepted", &Admission::accepted)
      .def_readonly("gpu", &Admission::gpu)
      .def_readonly("predicted_end_ms", &Admission::predicted_end_ms)
      .def_readonly("retry_after_ms", &Admission::retry_after_ms);
  py::class_<Answer>(module, "Answer")
      .def_property_readonly("request", [](const Answer& answer) { return answer.ended.request; })
      .def_property_readonly("gpu", [](const Answer& answer) { return answer.ended.gpu; })
      .def_property_readonly("cold", [](const Answer& answer) { return answer.ended.cold; })
      .def_property_readonly("links", [](const Answer& answer) { return answer.ended.links; })
      .def_property_readonly("batch_size", [](const Answer& answer) { return answer.ended.batch_size; })
      .def_property_readonly("leads_batch", [](const Answer& answer) { return answer.ended.leads_batch; })
      .def_property_readonly("queue_ms", [](const Answer& answer) { return answer.ended.queue_ms; })
      .def_property_readonly("run_ms", [](const Answer& answer) { return answer.ended.run_ms; })
      .def_property_readonly("error", [](const Answer& answer) { return answer.ended.error; })
      .def_property_readonly("device_failed", [](const Answer& answer) { return answer.ended.device_failed; })
      .def_readonly("outputs", &Answer::outputs);
  py::class_<DispatcherStatus>(module, "DispatcherStatus")
      .def_readonly("counters", &DispatcherStatus::counters)
      .def_readonly("resident_bytes", &DispatcherStatus::resident_bytes)
      .def_readonly("queued", &DispatcherStatus::queued)
      .def_readonly("gpu_of", &DispatcherStatus::gpu_of)
      .def_readonly("slowdown", &DispatcherStatus::slowdown)
      .def_readonly("overdue_ms", &DispatcherStatus::overdue_ms);

  using NoGil = py::call_guard<py::gil_scoped_release>;
  py::class_<ModelServer, std::unique_ptr<ModelServer, DeleteWithoutGil>>(module, "ModelServer")
      .def(py::init([](std::vector<ServedModel> models, std::vector<int> instance_model, SchedulerOptions options,
                       const GivenSessions& sessions, std::vector<std::vector<int>> link_of) {
             return std::unique_ptr<ModelServer, DeleteWithoutGil>(
                 new ModelServer({std::move(models), std::move(instance_model), std::move(options)},
                                 to_instances(sessions), std::move(link_of)));
           }),
           py::arg("models"), py::arg("instance_model"), py::arg("options"), py::arg("sessions"), py::arg("link_of"),
           py::keep_alive<1, 5>())
      .def("submit", &ModelServer::submit, py::arg("request"), py::arg("instance"), py::arg("inputs"), NoGil())
      .def(
          "take_answers", [](ModelServer& server) { return server.wait_answers(std::chrono::milliseconds(0)); },
          NoGil())
      .def("fileno", &ModelServer::answers_descriptor)
      .def("stop", &ModelServer::stop, NoGil())
      .def("cancel", &ModelServer::cancel, py::arg("request"), NoGil())
      .def("evict", &ModelServer::evict, py::arg("instance"), NoGil())
      .def("status", &ModelServer::status, NoGil());
}

}  // namespace deepplan
