#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/topology.h"

namespace deepplan {
namespace {

struct Probe {
  std::shared_ptr<Device> device;
  std::unique_ptr<DeviceMemory> memory;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Event> start;
  std::unique_ptr<Event> end;
  std::vector<double> gbps;
};

}  // namespace

std::vector<double> measure_host_to_device_gbps(const std::vector<std::shared_ptr<Device>>& devices, std::size_t bytes,
                                                PinnedArena& arena, int repeats) {
  if (bytes == 0 || repeats < 1) {
    throw InvalidArgument("measuring " + std::to_string(repeats) + " times " + std::to_string(bytes) +
                          " bytes: both must be at least 1");
  }
  const PinnedBlock source = arena.allocate(bytes);
  std::vector<Probe> probes;
  for (const auto& device : devices) {
    probes.push_back({device,
                      device->allocate(bytes),
                      device->create_stream(),
                      device->create_event(EventKind::Timed),
                      device->create_event(EventKind::Timed),
                      {}});
  }
  for (int repeat = -1; repeat < repeats; ++repeat) {
    for (Probe& probe : probes) {
      probe.stream->record(*probe.start);
      probe.device->copy_from_host(probe.memory->data(), source.data(), bytes, *probe.stream);
      probe.stream->record(*probe.end);
    }
    for (Probe& probe : probes) {
      probe.stream->synchronize();
      const double ms = probe.end->elapsed_ms_since(*probe.start);
      if (repeat >= 0) probe.gbps.push_back(static_cast<double>(bytes) / (ms * 1e6));
    }
  }
  std::vector<double> medians;
  for (Probe& probe : probes) {
    const auto middle = probe.gbps.begin() + repeats / 2;
    std::nth_element(probe.gbps.begin(), middle, probe.gbps.end());
    medians.push_back(*middle);
  }
  return medians;
}

}  // namespace deepplan
