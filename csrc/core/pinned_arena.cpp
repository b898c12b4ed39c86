#include "core/pinned_arena.h"

#include <algorithm>
#include <limits>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/range_allocator.h"

namespace deepplan {
namespace {

struct Segment {
  std::unique_ptr<PinnedSegment> memory;
  RangeAllocator ranges;
};

std::size_t rounded_up(std::size_t bytes, std::size_t unit) {
  const std::size_t units = bytes / unit + (bytes % unit != 0 ? 1 : 0);
  return units > std::numeric_limits<std::size_t>::max() / unit ? bytes : units * unit;
}

}  // namespace

struct PinnedArenaState {
  mutable std::mutex mutex;
  PinnedArenaOptions options;
  PinnedAttaching attaching;
  std::vector<Segment> segments;

  PinnedArenaStats stats() const {
    PinnedArenaStats sum{.segments = segments.size()};
    for (const Segment& segment : segments) {
      sum.reserved_bytes += segment.memory->size_bytes();
      sum.used_bytes += segment.ranges.used_bytes();
    }
    return sum;
  }

  // How much the limit leaves for new segments.
  std::size_t room_bytes() const {
    if (options.limit_bytes == 0) return std::numeric_limits<std::size_t>::max();
    return options.limit_bytes - std::min(options.limit_bytes, stats().reserved_bytes);
  }

  // A segment of at least `needed` bytes, of `wanted` if limit and system allow.
  Segment& add_segment(std::size_t needed, std::size_t wanted) {
    const std::size_t room = room_bytes();
    if (needed > room) {
      const PinnedArenaStats now = stats();
      throw OutOfMemory("not enough pinned memory for " + format_bytes(needed) + ": " + format_bytes(now.used_bytes) +
                        " used of " + format_bytes(now.reserved_bytes) + " reserved, limit " +
                        format_bytes(options.limit_bytes));
    }
    wanted = std::clamp(wanted, needed, room);
    std::unique_ptr<PinnedSegment> memory;
    try {
      memory = options.backing(wanted);
    } catch (const OutOfMemory&) {
      if (wanted == needed) throw;
      memory = options.backing(needed);
    }
    const std::size_t size = memory->size_bytes();
    return segments.emplace_back(Segment{std::move(memory), RangeAllocator(size)});
  }

  // Whether there were any.
  bool drop_empty_segments() {
    return std::erase_if(segments, [](const Segment& segment) { return segment.ranges.empty(); }) > 0;
  }

  // Calls change(ranges, offset) for the block at `data`, under the lock.
  template <typename Change>
  void with_block(const char* data, const Change& change) {
    const std::lock_guard lock(mutex);
    for (Segment& segment : segments) {
      const char* begin = segment.memory->data();
      if (data < begin || data >= begin + segment.memory->size_bytes()) continue;
      change(segment.ranges, static_cast<std::size_t>(data - begin));
      return;
    }
  }
};

void PinnedBlock::Release::operator()(char* data) const noexcept {
  state->with_block(data, [](RangeAllocator& ranges, std::size_t offset) { ranges.release(offset); });
}

void PinnedBlock::shrink(std::size_t bytes) {
  if (bytes >= size_bytes()) return;
  range_.get_deleter().state->with_block(
      range_.get(), [bytes](RangeAllocator& ranges, std::size_t offset) { ranges.shrink(offset, bytes); });
  size_bytes_ = bytes;
}

PinnedArena::PinnedArena(PinnedArenaOptions options) : state_(std::make_shared<PinnedArenaState>()) {
  if (options.step_bytes == 0 || options.segment_bytes == 0) {
    throw InvalidArgument("pinned segments of 0 bytes: segment_bytes and step_bytes must be above 0");
  }
  state_->options = std::move(options);
}

PinnedBlock PinnedArena::allocate(std::size_t bytes) {
  const std::lock_guard lock(state_->mutex);
  Segment* segment = best_segment(state_->segments, bytes);
  if (segment == nullptr) {
    // As much again as there is: few segments for a large store, little waste for a small one.
    const PinnedArenaOptions& options = state_->options;
    const std::size_t needed = rounded_up(std::max<std::size_t>(bytes, 1), kPinnedAlignmentBytes);
    const std::size_t growth = std::min(state_->stats().reserved_bytes, options.segment_bytes);
    const std::size_t wanted = rounded_up(std::max(needed, growth), options.step_bytes);
    try {
      segment = &state_->add_segment(needed, wanted);
    } catch (const OutOfMemory&) {
      // Empty segments that are too small for this block are still in its way.
      if (!state_->drop_empty_segments()) throw;
      segment = &state_->add_segment(needed, rounded_up(needed, options.step_bytes));
    }
  }
  const auto offset = segment->ranges.allocate(bytes);
  PinnedBlock block;
  block.range_ = {segment->memory->data() + offset.value(), PinnedBlock::Release{state_}};
  block.size_bytes_ = bytes;
  return block;
}

PinnedBlock PinnedArena::adopt(const KeptPlace& place) {
  const std::lock_guard lock(state_->mutex);
  auto segment = std::find_if(state_->segments.begin(), state_->segments.end(), [&](const Segment& each) {
    return each.memory->kept_at() == place.segment_at && each.memory->size_bytes() == place.segment_bytes;
  });
  if (segment == state_->segments.end()) {
    if (!state_->attaching) throw InvalidArgument("no memory is kept that a block could lie in");
    std::unique_ptr<PinnedSegment> memory = state_->attaching(place.segment_at, place.segment_bytes);
    const std::size_t size = memory->size_bytes();
    segment = state_->segments.insert(segment, Segment{std::move(memory), RangeAllocator(size)});
  }
  if (!segment->ranges.allocate_at(place.offset, place.bytes)) {
    throw InvalidArgument("a kept block of " + format_bytes(place.bytes) + " at " + std::to_string(place.offset) +
                          " is not there, or somebody else's");
  }
  PinnedBlock block;
  block.range_ = {segment->memory->data() + place.offset, PinnedBlock::Release{state_}};
  block.size_bytes_ = place.bytes;
  return block;
}

KeptPlace PinnedArena::place_of(const PinnedBlock& block) const {
  const std::lock_guard lock(state_->mutex);
  for (const Segment& segment : state_->segments) {
    const char* const begin = segment.memory->data();
    if (block.data() < begin || block.data() >= begin + segment.memory->size_bytes()) continue;
    return {.segment_at = segment.memory->kept_at(),
            .segment_bytes = segment.memory->size_bytes(),
            .offset = static_cast<std::size_t>(block.data() - begin),
            .bytes = block.size_bytes()};
  }
  throw InvalidArgument("the block is not of this arena");
}

void PinnedArena::use(PinnedBacking backing, PinnedAttaching attaching) {
  const std::lock_guard lock(state_->mutex);
  state_->options.backing = std::move(backing);
  state_->attaching = std::move(attaching);
}

void PinnedArena::reserve(std::size_t bytes) {
  const std::lock_guard lock(state_->mutex);
  const std::size_t reserved = state_->stats().reserved_bytes;
  if (reserved >= bytes) return;
  const std::size_t needed = rounded_up(bytes - reserved, kPinnedAlignmentBytes);
  state_->add_segment(needed, rounded_up(needed, state_->options.step_bytes));
}

void PinnedArena::trim() {
  const std::lock_guard lock(state_->mutex);
  state_->drop_empty_segments();
}

void PinnedArena::set_limit(std::size_t limit_bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->options.limit_bytes = limit_bytes;
}

PinnedArenaStats PinnedArena::stats() const {
  const std::lock_guard lock(state_->mutex);
  return state_->stats();
}

PinnedArena& process_arena() {
  static auto* const arena = new PinnedArena();
  return *arena;
}

}  // namespace deepplan
