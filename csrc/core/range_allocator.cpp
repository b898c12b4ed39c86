#include "core/range_allocator.h"

#include <bit>
#include <iterator>
#include <string>

#include "core/error.h"

namespace deepplan {

RangeAllocator::RangeAllocator(std::size_t size_bytes, std::size_t alignment_bytes)
    : size_bytes_(size_bytes), alignment_bytes_(alignment_bytes) {
  if (!std::has_single_bit(alignment_bytes)) {
    throw InvalidArgument("alignment of " + std::to_string(alignment_bytes) + " bytes is not a power of two");
  }
  // A tail shorter than the alignment could never be handed out.
  if (const std::size_t usable = size_bytes & ~(alignment_bytes - 1); usable > 0) insert_free(0, usable);
}

std::optional<std::size_t> RangeAllocator::rounded(std::size_t bytes) const {
  if (bytes > size_bytes_) return std::nullopt;
  const std::size_t units = bytes == 0 ? 1 : (bytes - 1) / alignment_bytes_ + 1;
  return units * alignment_bytes_;
}

std::optional<std::size_t> RangeAllocator::allocate(std::size_t bytes) {
  const auto length = rounded(bytes);
  if (!length) return std::nullopt;
  const auto fit = free_by_size_.lower_bound({*length, 0});
  if (fit == free_by_size_.end()) return std::nullopt;
  const auto [free_length, offset] = *fit;
  take(offset, free_length, offset, *length);
  return offset;
}

bool RangeAllocator::allocate_at(std::size_t offset, std::size_t bytes) {
  if (offset % alignment_bytes_ != 0) {
    throw InvalidArgument("offset " + std::to_string(offset) + " is no multiple of the alignment, " +
                          std::to_string(alignment_bytes_));
  }
  const auto length = rounded(bytes);
  auto around = free_.upper_bound(offset);
  if (!length || around == free_.begin()) return false;
  --around;
  const auto [free_offset, free_length] = *around;
  const std::size_t before = offset - free_offset;
  if (before >= free_length || free_length - before < *length) return false;
  take(free_offset, free_length, offset, *length);
  return true;
}

void RangeAllocator::release(std::size_t offset) {
  const auto range = live_.find(offset);
  if (range == live_.end()) throw InvalidArgument("no live range begins at offset " + std::to_string(offset));
  const std::size_t length = range->second;
  live_.erase(range);
  give(offset, length);
}

void RangeAllocator::shrink(std::size_t offset, std::size_t bytes) {
  const auto range = live_.find(offset);
  if (range == live_.end()) throw InvalidArgument("no live range begins at offset " + std::to_string(offset));
  const std::size_t before = range->second, remaining = rounded(bytes).value_or(before);
  if (remaining >= before) return;
  range->second = remaining;
  give(offset + remaining, before - remaining);
}

void RangeAllocator::give(std::size_t offset, std::size_t length) {
  used_bytes_ -= length;
  const auto after = free_.lower_bound(offset);
  if (after != free_.begin()) {
    const auto [before_offset, before_length] = *std::prev(after);
    if (before_offset + before_length == offset) {
      erase_free(before_offset, before_length);
      offset = before_offset;
      length += before_length;
    }
  }
  if (after != free_.end() && offset + length == after->first) {
    const auto [after_offset, after_length] = *after;
    erase_free(after_offset, after_length);
    length += after_length;
  }
  insert_free(offset, length);
}

std::optional<std::size_t> RangeAllocator::best_fit_bytes(std::size_t bytes) const {
  const auto length = rounded(bytes);
  if (!length) return std::nullopt;
  const auto fit = free_by_size_.lower_bound({*length, 0});
  if (fit == free_by_size_.end()) return std::nullopt;
  return fit->first;
}

std::size_t RangeAllocator::largest_free_bytes() const {
  return free_by_size_.empty() ? 0 : free_by_size_.rbegin()->first;
}

std::size_t RangeAllocator::range_bytes(std::size_t offset) const {
  const auto range = live_.find(offset);
  if (range == live_.end()) throw InvalidArgument("no live range begins at offset " + std::to_string(offset));
  return range->second;
}

void RangeAllocator::take(std::size_t free_offset, std::size_t free_length, std::size_t offset, std::size_t length) {
  const std::size_t end = offset + length, free_end = free_offset + free_length;
  erase_free(free_offset, free_length);
  if (offset > free_offset) insert_free(free_offset, offset - free_offset);
  if (free_end > end) insert_free(end, free_end - end);
  live_.emplace(offset, length);
  used_bytes_ += length;
}

void RangeAllocator::insert_free(std::size_t offset, std::size_t length) {
  free_.emplace(offset, length);
  free_by_size_.emplace(length, offset);
}

void RangeAllocator::erase_free(std::size_t offset, std::size_t length) {
  free_.erase(offset);
  free_by_size_.erase({length, offset});
}

}  // namespace deepplan
