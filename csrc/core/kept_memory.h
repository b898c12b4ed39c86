#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "core/pinned_arena.h"

namespace deepplan {

// Pinned memory in a file without a name (memfd_create): it lasts as long as any process has the file open, so that
// whoever starts an engine can keep the weights for the next one. One process at a time uses it. Thread-safe.
class KeptMemory : public std::enable_shared_from_this<KeptMemory> {
 public:
  // `file` is duplicated; InvalidArgument for what is no file that can keep memory.
  explicit KeptMemory(int file);
  ~KeptMemory();
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;

  // A new segment, at the end of the file; OutOfMemory where the system refuses. Destroying a segment gives its pages
  // back to the system.
  std::unique_ptr<PinnedSegment> append(std::size_t bytes);
  // One of an earlier process, with its contents. InvalidArgument where the file is too short or it is there already.
  std::unique_ptr<PinnedSegment> attach(std::size_t at, std::size_t bytes);
  // Gives back all pages that no segment of this process lies on: whatever an earlier one left and nobody wants.
  void release_rest();

 private:
  friend class KeptSegment;
  void forget(std::size_t at, std::size_t bytes);
  void punch(std::size_t at, std::size_t bytes) const;

  int file_ = -1;
  std::mutex mutex_;
  std::size_t end_ = 0;
  std::set<std::pair<std::size_t, std::size_t>> segments_;  // (at, bytes)
};

}  // namespace deepplan
