// torch's casters first: they must be seen before pybind11's generic ones.
#include <torch/csrc/utils/pybind.h>
//
#include <pybind11/stl.h>

#include "core/error.h"
#include "core/pinned_arena.h"
#include "python/bindings.h"
#include "torch/session.h"

namespace py = pybind11;

namespace deepplan {
namespace {

ExecutionPlan to_plan(const std::vector<bool>& loads, std::vector<int> groups, std::vector<int> routes,
                      std::vector<bool> coded) {
  ExecutionPlan plan{
      .placement = {}, .group = std::move(groups), .route = std::move(routes), .coded = std::move(coded)};
  for (const bool load : loads) plan.placement.push_back(load ? Placement::Load : Placement::DirectHostAccess);
  return plan;
}

// A session waits for the target when it goes, and for whoever captures there, who may be waiting for the GIL.
struct DeleteWithoutGil {
  void operator()(Session* session) const {
    const py::gil_scoped_release released;
    delete session;
  }
};

// Results are tensors, and in a few models numbers computed from sizes.
py::object to_python(const c10::IValue& value) {
  if (value.isTensor()) return py::cast(value.toTensor());
  if (value.isBool()) return py::bool_(value.toBool());
  if (value.isInt()) return py::int_(value.toInt());
  if (value.isDouble()) return py::float_(value.toDouble());
  if (value.isString()) return py::str(value.toStringRef());
  if (value.isNone()) return py::none();
  throw Error("a model cannot return a " + value.tagKind());
}

// Session::run or Session::answer.
template <auto call>
py::list results(Session& session, std::vector<at::Tensor> inputs) {
  std::vector<c10::IValue> values;
  {
    const py::gil_scoped_release released;
    values = (session.*call)(std::move(inputs));
  }
  py::list list(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) list[i] = to_python(values[i]);
  return list;
}

}  // namespace

void bind_session(py::module_& module) {
  py::class_<ExecutionPlan>(module, "ExecutionPlan")
      .def(py::init(&to_plan), py::arg("loads"), py::arg("groups"), py::arg("routes"),
           py::arg("coded") = std::vector<bool>{});
  py::class_<LayerTimes>(module, "LayerTimes")
      .def_readonly("start_ms", &LayerTimes::start_ms)
      .def_readonly("end_ms", &LayerTimes::end_ms);
  py::class_<GroupTimes>(module, "GroupTimes")
      .def_readonly("start_ms", &GroupTimes::start_ms)
      .def_readonly("end_ms", &GroupTimes::end_ms);
  py::class_<RunTimes>(module, "RunTimes")
      .def_readonly("cold", &RunTimes::cold)
      .def_readonly("total_ms", &RunTimes::total_ms)
      .def_readonly("layers", &RunTimes::layers)
      .def_readonly("groups", &RunTimes::groups);

  using NoGil = py::call_guard<py::gil_scoped_release>;
  py::class_<Session, std::unique_ptr<Session, DeleteWithoutGil>>(module, "Session")
      .def(py::init([](std::string name, std::shared_ptr<Program> program, std::shared_ptr<SharedLinks> links,
                       ExecutionPlan plan, bool promote) {
             return std::unique_ptr<Session, DeleteWithoutGil>(new Session(
                 std::move(name), std::move(program), std::move(links), process_arena(), std::move(plan), promote));
           }),
           py::arg("name"), py::arg("program"), py::arg("links"), py::arg("plan"), py::arg("promote") = true, NoGil())
      .def(
          py::init([](const Session& other, std::shared_ptr<Program> program, std::shared_ptr<SharedLinks> links) {
            return std::unique_ptr<Session, DeleteWithoutGil>(new Session(other, std::move(program), std::move(links)));
          }),
          py::arg("other"), py::arg("program"), py::arg("links"), NoGil())
      .def(py::init([](std::string name, std::shared_ptr<Program> program, std::shared_ptr<SharedLinks> links,
                       ExecutionPlan plan, const HostCopy& copy) {
             return std::unique_ptr<Session, DeleteWithoutGil>(new Session(
                 std::move(name), std::move(program), std::move(links), process_arena(), std::move(plan), true, copy));
           }),
           py::arg("name"), py::arg("program"), py::arg("links"), py::arg("plan"), py::arg("copy"), NoGil())
      .def("host_copy", &Session::host_copy, NoGil())
      .def("use_links", &Session::use_links, py::arg("links"), NoGil())
      .def_property_readonly("last_was_cold", py::cpp_function(&Session::last_was_cold, NoGil()))
      .def("storage_bytes", &Session::storage_bytes, py::arg("storage"))
      .def("encode", &Session::encode, NoGil())
      .def("run", &results<&Session::run>, py::arg("inputs"))
      .def("answer", &results<&Session::answer>, py::arg("inputs"))
      .def("prepare_capture", &Session::prepare_capture, NoGil())
      .def(
          "capture",
          [](Session& session, bool cold, bool timed, bool shifted) {
            session.capture({.cold = cold, .timed = timed}, shifted);
          },
          py::arg("cold"), py::arg("timed") = false, py::arg("shifted") = false, NoGil())
      .def(
          "adopt",
          [](Session& session, std::uintptr_t graph, std::uintptr_t shifted, bool cold, bool timed) {
            session.adopt({.cold = cold, .timed = timed}, reinterpret_cast<void*>(graph),
                          reinterpret_cast<void*>(shifted));
          },
          py::arg("graph"), py::arg("shifted"), py::arg("cold"), py::arg("timed") = false, NoGil())
      .def("forget_captured", &Session::forget_captured, NoGil())
      .def("leave_home", &Session::leave_home, NoGil())
      .def("share_captured", &Session::share_captured, py::arg("other"), NoGil())
      .def_property_readonly("last_was_captured", py::cpp_function(&Session::last_was_captured, NoGil()))
      .def("evict", &Session::evict, py::arg("poison") = false, NoGil())
      .def("rebind", &Session::rebind, py::arg("plan"), NoGil())
      .def("set_timed", &Session::set_timed, py::arg("timed"), NoGil())
      .def("set_background_load", &Session::set_background_load, py::arg("busy"), NoGil())
      .def("last_times", &Session::last_times, NoGil())
      .def("plan_for", &Session::plan_for, py::arg("links"), py::arg("plan"), NoGil())
      .def("drop_wait", &Session::drop_wait, py::arg("group"))
      // Waits for a run under way, which may itself be waiting for the GIL in a Python operator.
      .def_property_readonly("is_resident", py::cpp_function(&Session::is_resident, NoGil()))
      .def_property_readonly("loaded_bytes", [](const Session& session) { return session.layout().loaded_bytes; })
      .def_property_readonly("resident_bytes", [](const Session& session) { return session.layout().resident_bytes; })
      .def_property_readonly("crossing_bytes", [](const Session& session) { return session.host().crossing_bytes(); })
      .def_property_readonly("host_bytes", [](const Session& session) { return session.host().size_bytes(); });
}

}  // namespace deepplan
