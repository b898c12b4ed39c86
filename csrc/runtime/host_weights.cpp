#include "runtime/host_weights.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"
#include "runtime/parallel_copy.h"
#include "runtime/parallel_for.h"
#include "runtime/piece_order.h"

namespace deepplan {
namespace {

constexpr std::size_t kCodingThreads = 8;

std::size_t aligned(std::size_t offset) {
  return (offset + kTensorAlignmentBytes - 1) / kTensorAlignmentBytes * kTensorAlignmentBytes;
}

}  // namespace

HostWeights::HostWeights(PinnedArena& arena, WeightLayout layout)
    : arena_(&arena), layout_(std::move(layout)), block_(arena.allocate(layout_.total_bytes)) {
  place_plain();
}

HostWeights::HostWeights(PinnedArena& arena, WeightLayout layout, const HostCopy& copy,
                         const std::vector<std::optional<GroupCoding>>& codings)
    : arena_(&arena), layout_(std::move(layout)), block_(arena.adopt(copy.place)) {
  place_plain();
  if (codings.size() != groups_.size() || copy.coded_bytes.size() != groups_.size()) {
    throw InvalidArgument("a host copy of " + std::to_string(copy.coded_bytes.size()) + " groups for a plan of " +
                          std::to_string(groups_.size()));
  }
  std::size_t end = 0;
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    const Extent& extent = layout_.groups[group];
    groups_[group].at = end;
    if (copy.coded_bytes[group].empty()) {
      end += extent.bytes;
    } else {
      is_coded_ = true;
      end = find_pieces(groups_[group], extent, codings[group], copy.coded_bytes[group], end);
    }
  }
  tail_at_ = end;
  end += layout_.total_bytes - layout_.loaded_bytes;
  if (end > block_.size_bytes()) {
    throw InvalidArgument("a host copy of " + format_bytes(block_.size_bytes()) + " where the plan has " +
                          format_bytes(end));
  }
}

std::size_t HostWeights::find_pieces(Group& group, const Extent& extent, const std::optional<GroupCoding>& coding,
                                     const std::vector<std::size_t>& coded_bytes, std::size_t at) const {
  const std::vector<std::size_t> shares =
      coding && extent.bytes > 0 ? even_shares(extent.bytes, coding->piece_bytes) : std::vector<std::size_t>{};
  if (shares.size() != coded_bytes.size()) throw InvalidArgument("a host copy is coded where the plan is not");
  std::size_t offset = extent.offset;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    HostPiece piece{.offset = offset, .bytes = shares[i], .at = at, .coding = std::nullopt};
    if (coded_bytes[i] > 0) {
      if (aligned(coded_bytes[i]) >= shares[i]) throw InvalidArgument("a coded piece is larger than its plain bytes");
      piece.coding = CodedPiece{coding->format, piece.bytes, coded_bytes[i]};
      at += aligned(coded_bytes[i]);
    } else {
      at += piece.bytes;
    }
    offset += piece.bytes;
    group.pieces.push_back(piece);
  }
  return at;
}

HostCopy HostWeights::copy() const {
  HostCopy copy{.place = arena_->place_of(block_), .coded_bytes = {}};
  for (const Group& group : groups_) {
    std::vector<std::size_t>& bytes = copy.coded_bytes.emplace_back();
    for (const HostPiece& piece : group.pieces) bytes.push_back(piece.coding ? piece.coding->coded_bytes : 0);
  }
  return copy;
}

void HostWeights::place_plain() {
  groups_.clear();
  for (const Extent& extent : layout_.groups) groups_.push_back({.at = extent.offset, .pieces = {}});
  tail_at_ = layout_.loaded_bytes;
  is_coded_ = false;
}

int HostWeights::group_of(int tensor) const {
  const std::size_t offset = layout_.tensor_offset.at(static_cast<std::size_t>(tensor));
  if (offset >= layout_.loaded_bytes) return -1;
  // The last one that begins no later: groups without bytes begin where the next one does.
  const auto after = std::upper_bound(layout_.groups.begin(), layout_.groups.end(), offset,
                                      [](std::size_t at, const Extent& extent) { return at < extent.offset; });
  return static_cast<int>(after - layout_.groups.begin()) - 1;
}

char* HostWeights::data(int tensor) const {
  const std::size_t offset = layout_.tensor_offset.at(static_cast<std::size_t>(tensor));
  const int index = group_of(tensor);
  if (index < 0) return block_.data() + tail_at_ + (offset - layout_.loaded_bytes);
  const Group& group = groups_[static_cast<std::size_t>(index)];
  if (!group.pieces.empty()) return nullptr;
  return block_.data() + group.at + (offset - layout_.groups[static_cast<std::size_t>(index)].offset);
}

void HostWeights::read(int tensor, char* destination) const {
  const std::size_t begin = layout_.tensor_offset.at(static_cast<std::size_t>(tensor));
  const std::size_t bytes = layout_.tensor_bytes[static_cast<std::size_t>(tensor)];
  if (bytes == 0) return;
  if (const char* const plain = data(tensor)) {
    std::memcpy(destination, plain, bytes);
    return;
  }
  std::vector<char> decoded;
  for (const HostPiece& piece : coded_pieces(group_of(tensor))) {
    const std::size_t from = std::max(begin, piece.offset), to = std::min(begin + bytes, piece.offset + piece.bytes);
    if (from >= to) continue;
    const char* source = piece_data(piece);
    if (piece.coding) {
      decoded.resize(piece.bytes);
      decode_weights(*piece.coding, source, decoded.data());
      source = decoded.data();
    }
    std::memcpy(destination + (from - begin), source + (from - piece.offset), to - from);
  }
}

const char* HostWeights::plain_data(const Extent& stretch) const {
  std::size_t before = 0;  // the last group that begins no later: plain ones that follow each other lie so, too
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    const Extent& extent = layout_.groups[group];
    if (extent.offset <= stretch.offset) before = group;
    if (!groups_[group].pieces.empty() && extent.offset < stretch.end() && stretch.offset < extent.end()) {
      throw InvalidArgument("group " + std::to_string(group) + " is coded: it has pieces");
    }
  }
  return block_.data() + groups_.at(before).at + (stretch.offset - layout_.groups[before].offset);
}

std::span<const HostPiece> HostWeights::coded_pieces(const Extent& stretch) const {
  const auto group = std::find(layout_.groups.begin(), layout_.groups.end(), stretch);
  if (group == layout_.groups.end()) return {};
  return groups_[static_cast<std::size_t>(group - layout_.groups.begin())].pieces;
}

std::size_t HostWeights::crossing_bytes() const {
  std::size_t sum = 0;
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    if (groups_[group].pieces.empty()) sum += layout_.groups[group].bytes;
    for (const HostPiece& piece : groups_[group].pieces) sum += piece.crossing_bytes();
  }
  return sum;
}

void HostWeights::code(const std::vector<std::optional<GroupCoding>>& codings) {
  if (is_coded_ || codings.size() != groups_.size()) {
    throw InvalidArgument(is_coded_ ? "the weights are coded already"
                                    : std::to_string(codings.size()) + " codings for " +
                                          std::to_string(groups_.size()) + " groups");
  }
  // All that may be short is taken before anything is moved.
  std::vector<Stretch> coded;
  std::size_t scratch_bytes = 0;
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    const Extent& extent = layout_.groups[group];
    if (!codings[group] || extent.bytes == 0) continue;
    const std::vector<std::size_t> shares = even_shares(extent.bytes, codings[group]->piece_bytes);
    groups_[group].pieces.reserve(shares.size());
    std::size_t offset = extent.offset;
    for (const std::size_t bytes : shares) {
      coded.push_back({group, {offset, bytes}, codings[group]->format});
      offset += bytes;
      scratch_bytes = std::max(scratch_bytes, most_coded_bytes(codings[group]->format, bytes));
    }
  }
  std::vector<std::unique_ptr<char[]>> scratch(std::min(kCodingThreads, coded.size()));
  for (auto& each : scratch) each = std::make_unique_for_overwrite<char[]>(scratch_bytes);
  is_coded_ = true;
  // Nothing grows, so whatever is written lies before what is still to be read.
  std::size_t end = 0, next = 0;  // of what is placed; the group that is placed next
  for (std::size_t first = 0; first < coded.size(); first += scratch.size()) {
    const std::span<const Stretch> batch =
        std::span(coded).subspan(first, std::min(scratch.size(), coded.size() - first));
    std::vector<std::size_t> coded_bytes(batch.size());
    parallel_for(batch.size(), kCodingThreads, [&](std::size_t i) {
      const auto& [group, extent, format] = batch[i];
      coded_bytes[i] =
          encode_weights(format, {block_.data() + extent.offset, extent.bytes}, {scratch[i].get(), scratch_bytes});
    });
    for (std::size_t i = 0; i < batch.size(); ++i) {
      end = place_plain_groups(next, batch[i].group, end);
      if (next == batch[i].group) groups_[next++].at = end;
      end = place_piece(batch[i], {scratch[i].get(), coded_bytes[i]}, end);
    }
  }
  end = place_plain_groups(next, groups_.size(), end);
  tail_at_ = end;
  end = move_plain({layout_.loaded_bytes, layout_.total_bytes - layout_.loaded_bytes}, end);
  block_.shrink(end);
}

std::size_t HostWeights::place_plain_groups(std::size_t& next, std::size_t behind, std::size_t end) {
  for (; next < behind; ++next) {
    groups_[next].at = end;
    end = move_plain(layout_.groups[next], end);
  }
  return end;
}

std::size_t HostWeights::move_plain(const Extent& extent, std::size_t at) {
  if (at != extent.offset) std::memmove(block_.data() + at, block_.data() + extent.offset, extent.bytes);
  return at + extent.bytes;
}

std::size_t HostWeights::place_piece(const Stretch& stretch, std::span<const char> coded, std::size_t end) {
  HostPiece piece{.offset = stretch.extent.offset, .bytes = stretch.extent.bytes, .at = end, .coding = std::nullopt};
  if (aligned(coded.size()) < piece.bytes) {
    piece.coding = CodedPiece{stretch.format, piece.bytes, coded.size()};
    std::memcpy(block_.data() + end, coded.data(), coded.size());
    end += aligned(coded.size());
  } else {
    end = move_plain(stretch.extent, end);
  }
  groups_[stretch.group].pieces.push_back(piece);
  return end;
}

void HostWeights::relayout(WeightLayout layout) {
  if (layout.tensor_bytes != layout_.tensor_bytes) {
    throw InvalidArgument("the new layout is another model's: its tensors differ in number or size");
  }
  PinnedBlock block = arena_->allocate(layout.total_bytes);
  std::vector<CopyRange> plain;
  std::vector<std::size_t> coded;
  for (std::size_t tensor = 0; tensor < layout.tensor_bytes.size(); ++tensor) {
    const char* const source = data(static_cast<int>(tensor));
    if (source == nullptr) {
      coded.push_back(tensor);
    } else {
      plain.push_back({block.data() + layout.tensor_offset[tensor], source, layout.tensor_bytes[tensor]});
    }
  }
  parallel_copy(plain);
  parallel_for(coded.size(), kCodingThreads,
               [&](std::size_t i) { read(static_cast<int>(coded[i]), block.data() + layout.tensor_offset[coded[i]]); });
  block_ = std::move(block);
  layout_ = std::move(layout);
  place_plain();
}

}  // namespace deepplan
