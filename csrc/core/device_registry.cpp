#include <map>
#include <mutex>
#include <string>

#include "core/device.h"
#include "core/error.h"
#include "core/host_device.h"
#ifdef DEEPPLAN_WITH_CUDA
#include "core/cuda/cuda_device.h"
#endif

namespace deepplan {
namespace {

// Devices that someone holds, so that all users of one share its link and its memory.
struct Registry {
  std::mutex mutex;
  HostDeviceSettings settings;
  std::map<DeviceId, std::weak_ptr<Device>> open;
};

Registry& registry() {
  static auto* const instance = new Registry;  // never destroyed: devices may outlive static destruction
  return *instance;
}

int cuda_count() {
#ifdef DEEPPLAN_WITH_CUDA
  return cuda_device_count();
#else
  return 0;
#endif
}

std::shared_ptr<Device> make_device(DeviceId id, const HostDeviceSettings& settings) {
#ifdef DEEPPLAN_WITH_CUDA
  if (id.backend == Backend::Cuda) return make_cuda_device(id.index);
#endif
  return std::make_shared<HostDevice>(id.index, settings);
}

}  // namespace

int device_count(Backend backend) {
  if (backend == Backend::Cuda) return cuda_count();
  return host_device_settings().count;
}

std::string unavailable_reason(Backend backend) {
  if (device_count(backend) > 0) return {};
#ifdef DEEPPLAN_WITH_CUDA
  return cuda_unavailable_reason();
#else
  return "deepplan was built without CUDA";
#endif
}

std::shared_ptr<Device> open_device(DeviceId id) {
  const int count = device_count(id.backend);
  if (id.index < 0 || id.index >= count) {
    const std::string reason = unavailable_reason(id.backend);
    throw InvalidArgument("there is no device " + to_string(id) + ": " + std::to_string(count) + " " +
                          to_string(id.backend) + (count == 1 ? " device" : " devices") +
                          (reason.empty() ? "" : " (" + reason + ")"));
  }
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::weak_ptr<Device>& known = all.open[id];
  std::shared_ptr<Device> device = known.lock();
  if (device == nullptr) {
    device = make_device(id, all.settings);
    known = device;
  }
  return device;
}

void set_host_devices(const HostDeviceSettings& settings) {
  if (settings.count < 1) throw InvalidArgument(std::to_string(settings.count) + " host devices: at least 1 is needed");
  if (!(settings.link_gbps > 0)) {
    throw InvalidArgument("a host link of " + std::to_string(settings.link_gbps) + " GB/s: it must be above 0");
  }
  if (!(settings.link_latency_us >= 0)) {
    throw InvalidArgument("a host link latency of " + std::to_string(settings.link_latency_us) +
                          " us: it must not be negative");
  }
  if (settings.memory_bytes == 0) throw InvalidArgument("host devices of 0 bytes: give them memory");
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.settings = settings;
  std::erase_if(all.open, [](const auto& entry) { return entry.first.backend == Backend::Host; });
}

HostDeviceSettings host_device_settings() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  return all.settings;
}

}  // namespace deepplan
