#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "core/device.h"

namespace deepplan {

struct DevicePoolStats {
  std::size_t reserved_bytes = 0;  // taken from the device
  std::size_t used_bytes = 0;      // in live blocks, rounding included
  std::size_t budget_bytes = 0;    // 0: unlimited
  std::size_t charged_bytes = 0;   // of the budget, taken by others
  std::size_t segments = 0;
  std::size_t allocations = 0;  // segments taken from the device so far, those given back included
};

struct DevicePoolState;

// Owns a range of a pool's memory and gives it back when destroyed; may outlive the pool. Empty after being moved
// from.
class DeviceBlock {
 public:
  DeviceBlock();
  DeviceBlock(DeviceBlock&&) noexcept;
  DeviceBlock& operator=(DeviceBlock&& other) noexcept;
  ~DeviceBlock();

  char* data() const;
  std::size_t size_bytes() const;
  // What used this memory before and may not be done: wait for all of it before the first write (Loader::begin takes
  // it as it is). Empty for fresh memory.
  const std::vector<std::shared_ptr<Event>>& last_uses() const;
  // The event behind the last work that uses this block; whoever gets the memory next waits for it. Replaces the one
  // given before. It must not be recorded again after the block is released. Without one, the work must be done when
  // the block is released.
  void set_last_use(std::shared_ptr<Event> event);

 private:
  friend class DevicePool;
  struct Range;
  explicit DeviceBlock(std::unique_ptr<Range> range);
  std::unique_ptr<Range> range_;
};

// Device memory for weights, kept when it is given back, because the driver's allocation calls are slow and wait for
// the whole device. Thread-safe. Copies of a pool are the same pool.
class DevicePool {
 public:
  // Budget 0: whatever the device has. Segments are multiples of `segment_bytes` (the same for a larger request).
  explicit DevicePool(std::shared_ptr<Device> device, std::size_t budget_bytes = 0,
                      std::size_t segment_bytes = std::size_t{2} << 20);

  // 512-byte aligned, from a segment that has room and is not held; else from a new one, so that models that come back
  // to their addresses do not drive each other out while there is memory. When a new one would break the budget or the
  // device has no room, from the held segment with room that fewest hold; then empty segments are returned to the
  // device, held ones last and only if `even_held`. OutOfMemory with asked, used, reserved, budget and what the device
  // has free. Never waits for work unless it returns segments.
  DeviceBlock allocate(std::size_t bytes, bool even_held = true);
  // The same at this very address, for work that was captured with it; nothing unless all of the range is free. Makes
  // no segment.
  std::optional<DeviceBlock> allocate_at(const char* address, std::size_t bytes);
  // While the result lives, the segment around `address` is kept, though it be empty: it is returned to the device only
  // when an allocation fails otherwise. Null for an address that is not the pool's.
  std::shared_ptr<const void> hold(const char* address);
  // Returns the segments without a live block to the device, after waiting for their last uses; those that are held
  // only if asked to.
  void trim(bool even_held = false);
  // While the result lives, counts `bytes` of the device's memory that others use for this pool's models (captured
  // graphs and what they run in) against the budget.
  std::shared_ptr<const void> charge(std::size_t bytes);
  // From now on; what is reserved above it stays until it is free and trimmed. 0: unlimited.
  void set_budget(std::size_t budget_bytes);
  DevicePoolStats stats() const;
  Device& device() const;

 private:
  std::shared_ptr<DevicePoolState> state_;
};

}  // namespace deepplan
