#include "runtime/device_pool.h"

#include <algorithm>
#include <limits>
#include <list>
#include <mutex>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/range_allocator.h"
#include "runtime/weight_layout.h"

namespace deepplan {
namespace {

// Work that may still use a range of a segment.
struct Use {
  Extent extent;
  std::shared_ptr<Event> event;
};

struct Segment {
  std::unique_ptr<DeviceMemory> memory;
  RangeAllocator ranges;
  std::vector<Use> uses;
  std::shared_ptr<const void> holders = std::make_shared<char>();  // copied by whoever needs the address again

  bool is_held() const { return holders.use_count() > 1; }
  bool contains(const char* address) const {
    return address >= memory->data() && address < memory->data() + memory->size_bytes();
  }

  void forget_finished_uses() {
    std::erase_if(uses, [](const Use& use) { return use.event->query(); });
  }
};

bool overlap(const Extent& a, const Extent& b) { return a.offset < b.end() && b.offset < a.end(); }

}  // namespace

struct DevicePoolState {
  std::mutex mutex;
  std::shared_ptr<Device> device;
  std::size_t budget_bytes = 0;
  std::size_t charged_bytes = 0;
  std::size_t segment_bytes = 0;
  std::size_t allocations = 0;
  std::list<Segment> segments;  // a list: blocks keep the address of theirs

  std::size_t reserved_bytes() const {
    std::size_t sum = 0;
    for (const Segment& segment : segments) sum += segment.memory->size_bytes();
    return sum;
  }

  std::size_t used_bytes() const {
    std::size_t sum = 0;
    for (const Segment& segment : segments) sum += segment.ranges.used_bytes();
    return sum;
  }

  // Null when budget or device have no room for it.
  Segment* add_segment(std::size_t needed) {
    const std::size_t taken = reserved_bytes() + charged_bytes;
    const std::size_t room =
        budget_bytes == 0 ? std::numeric_limits<std::size_t>::max() : budget_bytes - std::min(budget_bytes, taken);
    if (needed > room) return nullptr;
    const std::size_t units = (needed - 1) / segment_bytes + 1;
    try {
      auto memory = device->allocate(std::min(units * segment_bytes, room));
      ++allocations;
      const std::size_t size = memory->size_bytes();
      return &segments.emplace_back(Segment{.memory = std::move(memory), .ranges = RangeAllocator(size), .uses = {}});
    } catch (const OutOfMemory&) {
      return nullptr;
    }
  }

  // Of the segments that are held, or of those that are not: the one with room that fewest hold, then the best fit.
  Segment* segment_with_room(std::size_t bytes, bool held) {
    Segment* best = nullptr;
    std::pair<long, std::size_t> least;
    for (Segment& segment : segments) {
      const auto fit = segment.ranges.best_fit_bytes(bytes);
      if (!fit || segment.is_held() != held) continue;
      const std::pair cost(segment.holders.use_count(), *fit);
      if (best != nullptr && least <= cost) continue;
      best = &segment;
      least = cost;
    }
    return best;
  }

  Segment* segment_around(const char* address) {
    const auto found = std::find_if(segments.begin(), segments.end(),
                                    [&](const Segment& segment) { return segment.contains(address); });
    return found == segments.end() ? nullptr : &*found;
  }

  void trim(bool even_held) {
    for (auto segment = segments.begin(); segment != segments.end();) {
      if (!segment->ranges.empty() || (segment->is_held() && !even_held)) {
        ++segment;
        continue;
      }
      for (const Use& use : segment->uses) use.event->synchronize();
      segment = segments.erase(segment);
    }
  }

  [[noreturn]] void refuse(std::size_t bytes) const {
    throw OutOfMemory("not enough memory on " + to_string(device->id()) + " for " + format_bytes(bytes) + ": " +
                      format_bytes(used_bytes()) + " used of " + format_bytes(reserved_bytes()) + " reserved" +
                      (charged_bytes == 0 ? "" : " and " + format_bytes(charged_bytes) + " taken by captured graphs") +
                      ", budget " + (budget_bytes == 0 ? "unlimited" : format_bytes(budget_bytes)) + ", " +
                      format_bytes(device->memory_info().free_bytes) + " free on the device");
  }
};

struct DeviceBlock::Range {
  std::shared_ptr<DevicePoolState> state;
  Segment* segment;
  Extent extent;
  std::size_t size_bytes;
  std::vector<std::shared_ptr<Event>> last_uses;
  std::shared_ptr<Event> last_use;

  Range(std::shared_ptr<DevicePoolState> pool, Segment& from, std::size_t bytes, std::size_t offset)
      : state(std::move(pool)), segment(&from), extent{offset, from.ranges.range_bytes(offset)}, size_bytes(bytes) {
    for (const Use& use : from.uses) {
      if (overlap(use.extent, extent)) last_uses.push_back(use.event);
    }
  }

  ~Range() {
    const std::lock_guard lock(state->mutex);
    // The uses before it stay listed until they are over: this block may never have waited for them.
    if (last_use) segment->uses.push_back({extent, std::move(last_use)});
    segment->ranges.release(extent.offset);
  }
};

DeviceBlock::DeviceBlock(std::unique_ptr<Range> range) : range_(std::move(range)) {}
DeviceBlock::DeviceBlock() = default;
DeviceBlock::DeviceBlock(DeviceBlock&&) noexcept = default;
DeviceBlock& DeviceBlock::operator=(DeviceBlock&&) noexcept = default;
DeviceBlock::~DeviceBlock() = default;

char* DeviceBlock::data() const { return range_ ? range_->segment->memory->data() + range_->extent.offset : nullptr; }

std::size_t DeviceBlock::size_bytes() const { return range_ ? range_->size_bytes : 0; }

const std::vector<std::shared_ptr<Event>>& DeviceBlock::last_uses() const {
  static const std::vector<std::shared_ptr<Event>> kNone;
  return range_ ? range_->last_uses : kNone;
}

void DeviceBlock::set_last_use(std::shared_ptr<Event> event) {
  if (!range_) throw InvalidArgument("an empty block has no last use");
  range_->last_use = std::move(event);
}

DevicePool::DevicePool(std::shared_ptr<Device> device, std::size_t budget_bytes, std::size_t segment_bytes)
    : state_(std::make_shared<DevicePoolState>()) {
  if (segment_bytes == 0) throw InvalidArgument("device segments of 0 bytes: segment_bytes must be above 0");
  state_->device = std::move(device);
  state_->budget_bytes = budget_bytes;
  state_->segment_bytes = segment_bytes;
}

DeviceBlock DevicePool::allocate(std::size_t bytes, bool even_held) {
  const std::lock_guard lock(state_->mutex);
  for (Segment& segment : state_->segments) segment.forget_finished_uses();
  // Ranges are whole units, so a segment must be, too.
  const std::size_t unit = kTensorAlignmentBytes;
  if (bytes > std::numeric_limits<std::size_t>::max() - state_->segment_bytes - unit) state_->refuse(bytes);
  const std::size_t needed = (std::max<std::size_t>(bytes, 1) + unit - 1) / unit * unit;
  Segment* segment = state_->segment_with_room(bytes, /*held=*/false);
  if (segment == nullptr) segment = state_->add_segment(needed);
  if (segment == nullptr) segment = state_->segment_with_room(bytes, /*held=*/true);
  for (const bool held : {false, true}) {
    if (segment != nullptr || (held && !even_held)) break;
    state_->trim(held);
    segment = state_->add_segment(needed);
  }
  if (segment == nullptr) state_->refuse(bytes);
  const std::size_t offset = segment->ranges.allocate(bytes).value();
  return DeviceBlock(std::make_unique<DeviceBlock::Range>(state_, *segment, bytes, offset));
}

std::optional<DeviceBlock> DevicePool::allocate_at(const char* address, std::size_t bytes) {
  const std::lock_guard lock(state_->mutex);
  Segment* const segment = state_->segment_around(address);
  if (segment == nullptr) return std::nullopt;
  segment->forget_finished_uses();
  const auto offset = static_cast<std::size_t>(address - segment->memory->data());
  if (!segment->ranges.allocate_at(offset, bytes)) return std::nullopt;
  return DeviceBlock(std::make_unique<DeviceBlock::Range>(state_, *segment, bytes, offset));
}

std::shared_ptr<const void> DevicePool::hold(const char* address) {
  const std::lock_guard lock(state_->mutex);
  const Segment* const segment = state_->segment_around(address);
  return segment == nullptr ? nullptr : segment->holders;
}

void DevicePool::trim(bool even_held) {
  const std::lock_guard lock(state_->mutex);
  state_->trim(even_held);
}

std::shared_ptr<const void> DevicePool::charge(std::size_t bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->charged_bytes += bytes;
  return {static_cast<const void*>(nullptr), [state = state_, bytes](const void*) {
            const std::lock_guard unlock(state->mutex);
            state->charged_bytes -= bytes;
          }};
}

void DevicePool::set_budget(std::size_t budget_bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->budget_bytes = budget_bytes;
}

DevicePoolStats DevicePool::stats() const {
  const std::lock_guard lock(state_->mutex);
  return {.reserved_bytes = state_->reserved_bytes(),
          .used_bytes = state_->used_bytes(),
          .budget_bytes = state_->budget_bytes,
          .charged_bytes = state_->charged_bytes,
          .segments = state_->segments.size(),
          .allocations = state_->allocations};
}

Device& DevicePool::device() const { return *state_->device; }

}  // namespace deepplan
