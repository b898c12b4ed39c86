#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/pinned_arena.h"

namespace deepplan {

struct DeviceTopology {
  DeviceId id;
  std::string name;
  std::string pci_bus_id;                 // empty for host devices
  std::vector<std::string> pci_ancestry;  // root first, the device last; empty where /sys does not show it
  int numa_node = -1;                     // -1: unknown
};

// What a set of devices is and how they reach each other. Matrices are indexed by position in `devices`, [from][to];
// the diagonal has access.
struct Topology {
  std::vector<DeviceTopology> devices;
  std::vector<std::vector<PeerLink>> peers;

  // Whether the pair looks NVLink-connected: both ways with access and native atomics. A guess from the driver's
  // attributes; false on the diagonal.
  bool looks_like_nvlink(std::size_t a, std::size_t b) const;
  // How many leading PCI ancestors two devices share (the devices themselves not counted); -1 where /sys does not show
  // both. Sharing more than the root complex means sharing a switch's uplink.
  int shared_pci_ancestors(std::size_t a, std::size_t b) const;
};

Topology discover_topology(const std::vector<std::shared_ptr<Device>>& devices);

// The PCI functions from the root port down to `bus_id`, read from a resolved /sys/bus/pci/devices link; empty when it
// is not there.
std::vector<std::string> pci_ancestry(const std::string& bus_id);

// The rate in 10^9 bytes/s that each device's link carries while all of them load `bytes` from pinned memory at once,
// each into itself: median of `repeats` after one warm-up. Takes one block of `bytes` from the arena for all and
// `bytes` on each device, both given back before returning.
std::vector<double> measure_host_to_device_gbps(const std::vector<std::shared_ptr<Device>>& devices, std::size_t bytes,
                                                PinnedArena& arena, int repeats = 3);

}  // namespace deepplan
