#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "core/pinned_arena.h"
#include "core/weight_code.h"
#include "runtime/plan.h"
#include "runtime/weight_layout.h"

namespace deepplan {

// How a group is coded: as weights of one format (others in it are kept, too, in more bytes), in pieces that cross a
// link and are decoded one by one.
struct GroupCoding {
  WeightFormat format = WeightFormat::BFloat16;
  std::size_t piece_bytes = 0;  // plain, at most
};

// A stretch of a coded group as it lies in host memory.
struct HostPiece {
  std::size_t offset = 0;                           // of the plain bytes, in the layout
  std::size_t bytes = 0;                            // plain
  std::size_t at = 0;                               // in host memory, from its begin
  std::optional<CodedPiece> coding = std::nullopt;  // nothing where it would not have been smaller
  std::size_t crossing_bytes() const { return coding ? coding->coded_bytes : bytes; }
};

// What a later process needs to go on with a host copy in memory that is kept for it: where it lies, and of each piece
// of each coded group its coded bytes, 0 for one that lies plain. Whatever else there is to know follows from the plan.
struct HostCopy {
  KeptPlace place;
  std::vector<std::vector<std::size_t>> coded_bytes;  // by group, empty for one that is not coded
};

// A model's weights in pinned host memory, contiguous, laid out by a plan; groups may be coded. It is the one copy that
// is always valid: evicting a model from a device costs nothing. Loads and in-place reads must be done before it is
// destroyed, coded or laid out again.
class HostWeights {
 public:
  // Takes the memory; contents are the caller's to write through data(tensor). OutOfMemory from the arena.
  HostWeights(PinnedArena& arena, WeightLayout layout);
  // Goes on with the host copy that another process made with this layout and these codings. InvalidArgument where it
  // cannot have.
  HostWeights(PinnedArena& arena, WeightLayout layout, const HostCopy& copy,
              const std::vector<std::optional<GroupCoding>>& codings);
  HostCopy copy() const;

  // Where a tensor lies; null if its group is coded.
  char* data(int tensor) const;
  // Writes a tensor's plain bytes to `destination`, whether it is coded or not.
  void read(int tensor, char* destination) const;

  // Where the loaded bytes of a stretch of the layout lie, or those that it promotes. InvalidArgument if a group that
  // is coded has a share in the stretch.
  const char* plain_data(const Extent& stretch) const;
  const char* promoted_data() const { return block_.data() + tail_at_; }
  // In the order of the layout; empty for a group that is not coded.
  const std::vector<HostPiece>& coded_pieces(int group) const {
    return groups_.at(static_cast<std::size_t>(group)).pieces;
  }
  // Those of the group that is this stretch, empty if it is none, or plain.
  std::span<const HostPiece> coded_pieces(const Extent& stretch) const;
  const char* piece_data(const HostPiece& piece) const { return block_.data() + piece.at; }

  const WeightLayout& layout() const { return layout_; }
  bool is_coded() const { return is_coded_; }
  // The whole range, whatever is in it.
  char* begin() const { return block_.data(); }
  // What it takes of the arena.
  std::size_t size_bytes() const { return block_.size_bytes(); }
  // What a cold start brings over the links.
  std::size_t crossing_bytes() const;

  // Codes the groups that `codings`, one a group, has one for, in place: the rest moves up, and what is gained returns
  // to the arena. Once a layout (InvalidArgument); relayout makes everything plain again.
  void code(const std::vector<std::optional<GroupCoding>>& codings);

  // Moves the tensors to where another layout of the same model has them. Needs room for both; when there is none,
  // OutOfMemory, and nothing has changed. Addresses from data() and loaders made before are void after it.
  void relayout(WeightLayout layout);

 private:
  struct Group {
    std::size_t at = 0;  // of the plain bytes, unless it is coded
    std::vector<HostPiece> pieces;
  };
  // What becomes a piece of a coded group.
  struct Stretch {
    std::size_t group = 0;
    Extent extent;
    WeightFormat format = WeightFormat::BFloat16;
  };
  void place_plain();
  // These move what lies at the layout's place to `at` or `end` and return the end of it: a stretch; the groups from
  // `next`, which is moved on, to the one before `behind`; a piece, coded if that is smaller.
  std::size_t move_plain(const Extent& extent, std::size_t at);
  std::size_t place_plain_groups(std::size_t& next, std::size_t behind, std::size_t end);
  std::size_t place_piece(const Stretch& stretch, std::span<const char> coded, std::size_t end);
  // Fills `group` with the pieces that `coded_bytes` tells of, from `at`; returns the end of them.
  std::size_t find_pieces(Group& group, const Extent& extent, const std::optional<GroupCoding>& coding,
                          const std::vector<std::size_t>& coded_bytes, std::size_t at) const;
  int group_of(int tensor) const;  // -1 for one that no group loads

  PinnedArena* arena_;
  WeightLayout layout_;
  PinnedBlock block_;
  std::vector<Group> groups_;
  std::size_t tail_at_ = 0;  // of what follows the groups
  bool is_coded_ = false;
};

}  // namespace deepplan
