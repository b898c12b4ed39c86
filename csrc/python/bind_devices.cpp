#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/device.h"
#include "core/kept_memory.h"
#include "core/pinned_arena.h"
#include "core/topology.h"
#include "python/bindings.h"
#include "runtime/host_weights.h"
#include "runtime/link_costs.h"
#include "torch/target.h"

namespace py = pybind11;

namespace deepplan {
namespace {

// The right to use a target's streams alone, as a context manager.
class TargetTurn {
 public:
  explicit TargetTurn(std::shared_ptr<Target> target) : target_(std::move(target)) {}
  void enter() { target_->mutex.lock(); }
  void exit() { target_->mutex.unlock(); }

 private:
  std::shared_ptr<Target> target_;
};

// Counts against a budget as long as Python keeps it.
struct BudgetCharge {
  std::shared_ptr<const void> held;
};

std::vector<std::shared_ptr<Device>> open_devices(const std::vector<std::string>& names) {
  std::vector<std::shared_ptr<Device>> devices;
  for (const std::string& name : names) devices.push_back(open_device(parse_device_id(name)));
  return devices;
}

Backend backend_of(const std::string& name) { return parse_device_id(name + ":0").backend; }

void bind_topology(py::module_& module) {
  py::class_<PeerLink>(module, "PeerLink")
      .def_readonly("access", &PeerLink::access)
      .def_readonly("native_atomics", &PeerLink::native_atomics);
  py::class_<DeviceTopology>(module, "DeviceTopology")
      .def_readonly("name", &DeviceTopology::name)
      .def_readonly("pci_bus_id", &DeviceTopology::pci_bus_id)
      .def_readonly("pci_ancestry", &DeviceTopology::pci_ancestry)
      .def_readonly("numa_node", &DeviceTopology::numa_node);
  py::class_<Topology>(module, "Topology")
      .def_readonly("devices", &Topology::devices)
      .def_readonly("peers", &Topology::peers)
      .def("looks_like_nvlink", &Topology::looks_like_nvlink)
      .def("shared_pci_ancestors", &Topology::shared_pci_ancestors);
  module.def(
      "discover_topology", [](const std::vector<std::string>& names) { return discover_topology(open_devices(names)); },
      py::arg("devices"), py::call_guard<py::gil_scoped_release>());
  module.def(
      "measure_host_to_device_gbps",
      [](const std::vector<std::string>& names, std::size_t bytes, int repeats) {
        return measure_host_to_device_gbps(open_devices(names), bytes, process_arena(), repeats);
      },
      py::arg("devices"), py::arg("bytes"), py::arg("repeats") = 3, py::call_guard<py::gil_scoped_release>());
}

void bind_arena(py::module_& module) {
  py::class_<PinnedArenaStats>(module, "PinnedArenaStats")
      .def_readonly("reserved_bytes", &PinnedArenaStats::reserved_bytes)
      .def_readonly("used_bytes", &PinnedArenaStats::used_bytes)
      .def_readonly("segments", &PinnedArenaStats::segments);
  // All of these wait while somebody pins memory, which takes seconds.
  module.def("arena_stats", [] { return process_arena().stats(); }, py::call_guard<py::gil_scoped_release>());
  module.def(
      "reserve_arena", [](std::size_t bytes) { process_arena().reserve(bytes); }, py::arg("bytes"),
      py::call_guard<py::gil_scoped_release>());
  module.def(
      "set_arena_limit", [](std::size_t bytes) { process_arena().set_limit(bytes); }, py::arg("bytes"),
      py::call_guard<py::gil_scoped_release>());
  py::class_<KeptMemory, std::shared_ptr<KeptMemory>>(module, "KeptMemory")
      .def(py::init<int>(), py::arg("file"))
      .def("release_rest", &KeptMemory::release_rest, py::call_guard<py::gil_scoped_release>());
  module.def(
      "use_kept_memory",
      [](const std::shared_ptr<KeptMemory>& memory) {
        process_arena().use([memory](std::size_t bytes) { return memory->append(bytes); },
                            [memory](std::size_t at, std::size_t bytes) { return memory->attach(at, bytes); });
      },
      py::arg("memory"), py::call_guard<py::gil_scoped_release>());
  py::class_<KeptPlace>(module, "KeptPlace")
      .def(py::init<std::size_t, std::size_t, std::size_t, std::size_t>(), py::arg("segment_at"),
           py::arg("segment_bytes"), py::arg("offset"), py::arg("bytes"))
      .def_readonly("segment_at", &KeptPlace::segment_at)
      .def_readonly("segment_bytes", &KeptPlace::segment_bytes)
      .def_readonly("offset", &KeptPlace::offset)
      .def_readonly("bytes", &KeptPlace::bytes);
  py::class_<HostCopy>(module, "HostCopy")
      .def(py::init<KeptPlace, std::vector<std::vector<std::size_t>>>(), py::arg("place"), py::arg("coded_bytes"))
      .def_readonly("place", &HostCopy::place)
      .def_readonly("coded_bytes", &HostCopy::coded_bytes);
  module.def("trim_arena", [] { process_arena().trim(); }, py::call_guard<py::gil_scoped_release>());
}

// The pool's lock is held while memory comes from the device or goes back to it.
py::cpp_function pool_number(std::size_t DevicePoolStats::* field) {
  return py::cpp_function([field](const Target& target) { return target.pool.stats().*field; },
                          py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void bind_devices(py::module_& module) {
  module.def(
      "device_count", [](const std::string& backend) { return device_count(backend_of(backend)); }, py::arg("backend"));
  module.def(
      "unavailable_reason", [](const std::string& backend) { return unavailable_reason(backend_of(backend)); },
      py::arg("backend"));
  module.def(
      "set_host_devices",
      [](int count, double link_gbps, double link_latency_us, std::size_t memory_bytes) {
        set_host_devices({count, link_gbps, link_latency_us, memory_bytes});
      },
      py::arg("count") = HostDeviceSettings{}.count, py::arg("link_gbps") = HostDeviceSettings{}.link_gbps,
      py::arg("link_latency_us") = HostDeviceSettings{}.link_latency_us,
      py::arg("memory_bytes") = HostDeviceSettings{}.memory_bytes);
  module.def("memory_info", [](const std::string& name) {
    const MemoryInfo info = open_device(parse_device_id(name))->memory_info();
    return std::pair(info.free_bytes, info.total_bytes);
  });
  bind_topology(module);
  bind_arena(module);

  py::class_<BudgetCharge>(module, "BudgetCharge");
  py::class_<TargetTurn>(module, "TargetTurn")
      .def("__enter__", &TargetTurn::enter, py::call_guard<py::gil_scoped_release>())
      .def("__exit__", [](TargetTurn& turn, const py::args&) { turn.exit(); });
  py::class_<Target, std::shared_ptr<Target>>(module, "Target")
      .def(py::init([](const std::string& name, std::size_t budget_bytes) {
             return std::make_shared<Target>(parse_device_id(name), budget_bytes);
           }),
           py::arg("device"), py::arg("budget_bytes") = 0)
      .def(
          "set_budget", [](Target& target, std::size_t bytes) { target.pool.set_budget(bytes); },
          py::call_guard<py::gil_scoped_release>())
      .def(
          "trim", [](Target& target) { target.pool.trim(); }, py::call_guard<py::gil_scoped_release>())
      .def("turn", [](std::shared_ptr<Target> target) { return TargetTurn(std::move(target)); })
      .def(
          "charge", [](Target& target, std::size_t bytes) { return BudgetCharge{target.pool.charge(bytes)}; },
          py::arg("bytes"), py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("charged_bytes", pool_number(&DevicePoolStats::charged_bytes))
      .def("evict_idle", &Target::evict_idle, py::call_guard<py::gil_scoped_release>())
      .def(
          "synchronize", [](Target& target) { target.device->synchronize(); }, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("reserved_bytes", pool_number(&DevicePoolStats::reserved_bytes))
      .def_property_readonly("used_bytes", pool_number(&DevicePoolStats::used_bytes))
      .def_property_readonly("allocations", pool_number(&DevicePoolStats::allocations));
  py::class_<SharedLinks, std::shared_ptr<SharedLinks>>(module, "Links")
      .def(py::init([](const std::shared_ptr<Target>& target, const std::vector<std::string>& helpers,
                       std::size_t piece_bytes, int slots) {
             return std::make_shared<SharedLinks>(target, open_devices(helpers),
                                                  LinksOptions{.slots = slots, .slot_bytes = piece_bytes});
           }),
           py::arg("target"), py::arg("helpers") = std::vector<std::string>{},
           py::arg("piece_bytes") = LinksOptions{}.slot_bytes, py::arg("slots") = LinksOptions{}.slots,
           py::call_guard<py::gil_scoped_release>())
      .def(
          "costs",
          [](SharedLinks& shared, int count, std::size_t bytes, int repeats) {
            const std::scoped_lock lock(shared.target->mutex);
            std::vector<std::pair<double, double>> costs;
            for (const LinkCost& cost : measure_link_costs(shared.links, count, bytes, process_arena(), repeats)) {
              costs.emplace_back(cost.latency_ms, cost.gbps);
            }
            return costs;
          },
          py::arg("count"), py::arg("bytes"), py::arg("repeats") = 5, py::call_guard<py::gil_scoped_release>());
}

}  // namespace deepplan
