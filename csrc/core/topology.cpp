#include "core/topology.h"

#include <algorithm>
#include <string>

#include "core/system_files.h"

namespace deepplan {
namespace {

// "0000:1b:00.0": a PCI function as /sys writes it.
bool is_pci_function(const std::string& name) {
  return name.size() >= 12 && std::count(name.begin(), name.end(), ':') == 2 && name[name.size() - 2] == '.';
}

int numa_node(const std::string& bus_id) {
  if (bus_id.empty()) return -1;
  return static_cast<int>(read_number("/sys/bus/pci/devices/" + bus_id + "/numa_node").value_or(-1));
}

}  // namespace

std::vector<std::string> pci_ancestry(const std::string& bus_id) {
  if (bus_id.empty()) return {};
  const std::string path = resolve_path("/sys/bus/pci/devices/" + bus_id);
  std::vector<std::string> functions;
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    // "pci0000:00" is the root complex: without it, two devices below one root would share nothing.
    if (part.starts_with("pci") || is_pci_function(part)) functions.push_back(part);
    begin = end + 1;
  }
  return functions;
}

bool Topology::looks_like_nvlink(std::size_t a, std::size_t b) const {
  if (a == b) return false;
  const auto connected = [](const PeerLink& link) { return link.access && link.native_atomics; };
  return connected(peers.at(a).at(b)) && connected(peers.at(b).at(a));
}

int Topology::shared_pci_ancestors(std::size_t a, std::size_t b) const {
  const auto& first = devices.at(a).pci_ancestry;
  const auto& second = devices.at(b).pci_ancestry;
  if (first.empty() || second.empty()) return -1;
  const auto [end, unused] = std::mismatch(first.begin(), first.end() - 1, second.begin(), second.end() - 1);
  return static_cast<int>(end - first.begin());
}

Topology discover_topology(const std::vector<std::shared_ptr<Device>>& devices) {
  Topology topology;
  for (const auto& device : devices) {
    const std::string bus_id = device->pci_bus_id();
    topology.devices.push_back({device->id(), device->name(), bus_id, pci_ancestry(bus_id), numa_node(bus_id)});
    std::vector<PeerLink>& row = topology.peers.emplace_back();
    for (const auto& peer : devices) row.push_back(device->peer_link(*peer));
  }
  return topology;
}

}  // namespace deepplan
