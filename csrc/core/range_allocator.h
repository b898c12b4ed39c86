#pragma once

#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace deepplan {

// Hands out ranges of [0, size): best fit, lowest offset among equals; a freed range merges with its free neighbours.
// Knows offsets only, never touches memory. Not thread-safe: the owner of the memory holds the lock.
class RangeAllocator {
 public:
  // Offsets are multiples of `alignment_bytes`, a power of two (InvalidArgument otherwise); lengths are rounded up to
  // it, and a length of 0 takes one unit so that every live range has an offset of its own.
  explicit RangeAllocator(std::size_t size_bytes, std::size_t alignment_bytes = 512);

  // The offset of a new range, or nothing when no free range is long enough.
  std::optional<std::size_t> allocate(std::size_t bytes);
  // The range [offset, offset + bytes), if all of it is free; `offset` must be a multiple of the alignment
  // (InvalidArgument otherwise). Returns whether it was taken.
  bool allocate_at(std::size_t offset, std::size_t bytes);
  // Gives the end of a live range back, so that `bytes` of it remain; no-op when it is no longer than that.
  void shrink(std::size_t offset, std::size_t bytes);
  // Gives a range back. InvalidArgument when none begins at `offset` (given back twice).
  void release(std::size_t offset);

  // The length of the free range that allocate(bytes) would cut, or nothing: to choose among several allocators.
  std::optional<std::size_t> best_fit_bytes(std::size_t bytes) const;
  std::size_t size_bytes() const { return size_bytes_; }
  std::size_t used_bytes() const { return used_bytes_; }
  std::size_t largest_free_bytes() const;
  // The length set aside for the live range at `offset`, rounding included.
  std::size_t range_bytes(std::size_t offset) const;
  bool empty() const { return live_.empty(); }

 private:
  // Nothing when it is more than there is at all.
  std::optional<std::size_t> rounded(std::size_t bytes) const;
  // Merges a range with its free neighbours.
  void give(std::size_t offset, std::size_t length);
  // Takes [offset, offset + length) out of the free range that holds it.
  void take(std::size_t free_offset, std::size_t free_length, std::size_t offset, std::size_t length);
  void insert_free(std::size_t offset, std::size_t length);
  void erase_free(std::size_t offset, std::size_t length);

  std::size_t size_bytes_;
  std::size_t alignment_bytes_;
  std::size_t used_bytes_ = 0;
  std::map<std::size_t, std::size_t> free_;                     // offset -> length
  std::set<std::pair<std::size_t, std::size_t>> free_by_size_;  // (length, offset)
  std::map<std::size_t, std::size_t> live_;                     // offset -> length
};

// The segment, of those with a RangeAllocator called `ranges`, whose free range fits `bytes` best; null if none does.
template <typename Segments>
auto best_segment(Segments& segments, std::size_t bytes) -> decltype(&*segments.begin()) {
  decltype(&*segments.begin()) best = nullptr;
  std::size_t best_bytes = std::numeric_limits<std::size_t>::max();
  for (auto& segment : segments) {
    const auto fit = segment.ranges.best_fit_bytes(bytes);
    if (fit && *fit < best_bytes) {
      best = &segment;
      best_bytes = *fit;
    }
  }
  return best;
}

}  // namespace deepplan
