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
  erase_free(offset, free_length);
  if (free_length > *length) insert_free(offset + *length, free_length - *length);
  live_.emplace(offset, *length);
  used_bytes_ += *length;
  return offset;
}

void RangeAllocator::release(std::size_t offset) {
  const auto range = live_.find(offset);
  if (range == live_.end()) throw InvalidArgument("no live range begins at offset " + std::to_string(offset));
  std::size_t length = range->second;
  used_bytes_ -= length;
  live_.erase(range);
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

void RangeAllocator::insert_free(std::size_t offset, std::size_t length) {
  free_.emplace(offset, length);
  free_by_size_.emplace(length, offset);
}

void RangeAllocator::erase_free(std::size_t offset, std::size_t length) {
  free_.erase(offset);
  free_by_size_.erase({length, offset});
}

}  // namespace deepplan
