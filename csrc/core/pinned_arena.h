#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace deepplan {

// Blocks begin at multiples of this.
inline constexpr std::size_t kPinnedAlignmentBytes = 512;

// One mapping of host memory; destroying it unpins and unmaps. What is behind it is the arena's only seam: anonymous
// memory, or memory that another process keeps (core/kept_memory.h), so that weights outlive an engine that crashes.
class PinnedSegment {
 public:
  virtual ~PinnedSegment() = default;
  virtual char* data() const = 0;
  virtual std::size_t size_bytes() const = 0;
  // Where it lies in memory that another process keeps; 0 for what nobody else knows of.
  virtual std::size_t kept_at() const { return 0; }
};

// Makes segments. Throws OutOfMemory when the system refuses.
using PinnedBacking = std::function<std::unique_ptr<PinnedSegment>(std::size_t bytes)>;
// Finds a segment again that lies in memory that another process keeps.
using PinnedAttaching = std::function<std::unique_ptr<PinnedSegment>(std::size_t kept_at, std::size_t bytes)>;

// Where a block lies in memory that another process keeps.
struct KeptPlace {
  std::size_t segment_at = 0;
  std::size_t segment_bytes = 0;
  std::size_t offset = 0;  // in the segment
  std::size_t bytes = 0;
};

// Anonymous memory on huge pages where the system has them, touched by up to 8 threads, then registered once with CUDA
// (portable and mapped) when this process has a GPU; ordinary memory otherwise.
PinnedBacking anonymous_backing();

struct PinnedArenaOptions {
  std::size_t segment_bytes = std::size_t{1} << 30;  // a larger request gets a segment of its own size
  std::size_t step_bytes = std::size_t{64} << 20;    // segments are multiples of this, as small as the need so far
  std::size_t limit_bytes = 0;                       // for all segments together; 0: no limit but the system's
  PinnedBacking backing = anonymous_backing();
};

struct PinnedArenaStats {
  std::size_t reserved_bytes = 0;  // mapped and pinned
  std::size_t used_bytes = 0;      // in live blocks, rounding included
  std::size_t segments = 0;
};

struct PinnedArenaState;

// Owns a range of an arena and gives it back when destroyed; may outlive the arena. Work that reads it must be done by
// then. Empty after being moved from: data() is null.
class PinnedBlock {
 public:
  PinnedBlock() = default;
  PinnedBlock(PinnedBlock&&) noexcept = default;
  PinnedBlock& operator=(PinnedBlock&&) noexcept = default;
  char* data() const { return range_.get(); }
  std::size_t size_bytes() const { return range_ ? size_bytes_ : 0; }
  // Gives all but the first `bytes` back to the arena; no-op where there is no more.
  void shrink(std::size_t bytes);

 private:
  friend class PinnedArena;
  struct Release {
    std::shared_ptr<PinnedArenaState> state;
    void operator()(char* data) const noexcept;
  };
  std::unique_ptr<char, Release> range_;
  std::size_t size_bytes_ = 0;
};

// Page-locked host memory for weights, in few large segments, because pinning small blocks costs more than loading
// them. Thread-safe. Blocks are 512-byte aligned, never straddle two segments, and freed space is used again.
class PinnedArena {
 public:
  explicit PinnedArena(PinnedArenaOptions options = {});

  // Contents undefined (zero, or what an earlier block left). OutOfMemory with asked, reserved, used and limit.
  PinnedBlock allocate(std::size_t bytes);
  // A block that this arena, or one of an earlier process, allocated in kept memory, with its contents. InvalidArgument
  // where there is no kept memory, or where others have some of the range; errors as allocate.
  PinnedBlock adopt(const KeptPlace& place);
  // Where a block lies; for adopt() in a later process.
  KeptPlace place_of(const PinnedBlock& block) const;
  // Where segments come from, from now on, and how those of an earlier process are found again.
  void use(PinnedBacking backing, PinnedAttaching attaching);
  // Makes sure that so many bytes are reserved in all, used or not: what is missing in one segment, because a model is
  // one block and may be larger than a segment is by itself. OutOfMemory as allocate; no-op when they are.
  void reserve(std::size_t bytes);
  // Unpins and unmaps the segments that hold no block.
  void trim();
  // The limit from now on; what is reserved stays even when it is above. 0: none.
  void set_limit(std::size_t limit_bytes);
  PinnedArenaStats stats() const;

 private:
  std::shared_ptr<PinnedArenaState> state_;
};

// The process's one arena, made when first asked for and never destroyed: the driver may be gone by then.
PinnedArena& process_arena();

}  // namespace deepplan
