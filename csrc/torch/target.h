// What the models of one target GPU share: the device, its pool of weight memory, who is resident, the memory that
// captured runs work in, and the links.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/device.h"
#include "runtime/device_pool.h"
#include "runtime/links.h"
#include "runtime/residency.h"

namespace deepplan {

struct Target {
  // Budget 0: whatever the device has.
  explicit Target(DeviceId id, std::size_t budget_bytes = 0)
      : device(open_device(id)), pool(device, budget_bytes), residency(pool) {}

  // Gives back to the device whatever no running model needs: for allocations that are not the pool's.
  void evict_idle() {
    residency.evict_idle();
    pool.trim(/*even_held=*/true);
  }

  std::shared_ptr<Device> device;
  DevicePool pool;
  Residency residency;
  // Held while a run that was captured, or one that loads, is issued. All captured runs of a GPU work in the same
  // memory, and all loads travel over its link: they take turns.
  std::mutex mutex;
  std::shared_ptr<Event> last_captured_run;
};

struct SharedLinks {
  SharedLinks(const std::shared_ptr<Target>& target, std::vector<std::shared_ptr<Device>> helpers,
              LinksOptions options = {})
      : target(target), links(target->device, std::move(helpers), options) {}

  std::shared_ptr<Target> target;
  Links links;
};

}  // namespace deepplan
