#include "runtime/loader.h"

#include <algorithm>
#include <set>
#include <string>

#include "core/error.h"

namespace deepplan {
namespace {

constexpr std::size_t kPromotedPieceBytes = std::size_t{4} << 20;

}  // namespace

Loader::Loader(Links& links, const HostWeights& weights, const ExecutionPlan& plan)
    : Loader(links, weights, weights.layout().groups, plan.route) {}

Loader::Loader(Links& links, const HostWeights& weights, const std::vector<Extent>& groups,
               const std::vector<int>& route)
    : links_(&links), weights_(&weights) {
  if (route.size() != groups.size()) {
    throw InvalidArgument("a plan of " + std::to_string(route.size()) + " groups for weights laid out in " +
                          std::to_string(groups.size()));
  }
  std::vector<std::vector<Piece>> pieces;
  for (std::size_t group = 0; group < route.size(); ++group) {
    const int link = route[group];
    if (link < 0 || link >= links.count()) {
      throw InvalidArgument("group " + std::to_string(group) + " travels over link " + std::to_string(link) +
                            ": there are " + std::to_string(links.count()));
    }
    Group& added = groups_.emplace_back();
    added.extent = groups[group];
    added.link = link;
    added.coded = !weights.coded_pieces(added.extent).empty();
    if (added.coded) links.prepare_decoding(link);
    added.ready = (added.coded ? links.target() : links.device(link)).create_event();
    pieces.push_back(pieces_of(static_cast<int>(group)));
    Stream* const stream = &last_stream(added);
    if (std::find(writing_.begin(), writing_.end(), stream) == writing_.end()) writing_.push_back(stream);
  }
  pieces_ = order_pieces(pieces, route, links.count());
}

std::vector<Piece> Loader::pieces_of(int group) const {
  std::vector<Piece> pieces;
  const Extent& extent = groups_[static_cast<std::size_t>(group)].extent;
  const int link = groups_[static_cast<std::size_t>(group)].link;
  for (const HostPiece& piece : weights_->coded_pieces(extent)) {
    pieces.push_back({.group = group,
                      .offset = piece.offset,
                      .bytes = piece.bytes,
                      .source = weights_->piece_data(piece),
                      .crossing_bytes = piece.crossing_bytes(),
                      .in_coded_group = true,
                      .coding = piece.coding});
  }
  if (pieces.empty()) {
    const std::size_t most_bytes = link == 0 ? std::max<std::size_t>(extent.bytes, 1) : links_->slot_bytes();
    const char* const source = weights_->plain_data(extent);
    std::size_t done = 0;
    for (const std::size_t bytes : even_shares(extent.bytes, most_bytes)) {
      pieces.push_back({.group = group,
                        .offset = extent.offset + done,
                        .bytes = bytes,
                        .source = source + done,
                        .crossing_bytes = bytes,
                        .coding = std::nullopt});
      done += bytes;
    }
  }
  pieces.front().first = pieces.back().last = true;
  return pieces;
}

Stream& Loader::last_stream(const Group& group) const {
  return group.coded ? links_->decode_stream(group.link) : links_->write_stream(group.link);
}

Loader::~Loader() {
  try {
    synchronize();
  } catch (const Error&) {
    // The device failed: whoever used its results was told, and there is nothing left to wait for.
  }
}

void Loader::begin(char* device_base, std::span<const std::shared_ptr<Event>> after) {
  if (device_base == nullptr && weights_->layout().loaded_bytes > 0) {
    throw InvalidArgument("a cold start needs device memory: the address is null");
  }
  device_base_ = device_base;
  begun_ = true;
  timing_ = timed_;
  next_ = 0;
  for (Group& group : groups_) group.issued = false;
  for (Stream* stream : writing_) {
    for (const auto& event : after) {
      if (event) stream->wait(*event);
    }
  }
  if (timing_) make_timed_events();
}

bool Loader::issue(std::size_t pieces) {
  if (!begun_) throw InvalidArgument("nothing can be issued before the first cold start was begun");
  for (; pieces > 0 && next_ < pieces_.size(); --pieces) issue_piece(pieces_[next_++]);
  return next_ < pieces_.size();
}

const Event& Loader::require(int group) {
  if (!begun_ || group < 0 || group >= group_count()) {
    throw InvalidArgument(
        "group " + std::to_string(group) + " is required " +
        (begun_ ? "of a plan with " + std::to_string(group_count()) : "before a cold start was begun"));
  }
  const Group& wanted = groups_[static_cast<std::size_t>(group)];
  while (!wanted.issued) issue(1);
  return *wanted.ready;
}

std::shared_ptr<Event> Loader::promote(char* device_base, std::shared_ptr<Event> cold_start,
                                       std::span<const std::shared_ptr<Event>> after) {
  const WeightLayout& layout = weights_->layout();
  if (layout.resident_bytes == layout.loaded_bytes) return cold_start;
  Stream& stream = links_->idle_stream();
  stream.wait(*cold_start);
  for (const auto& event : after) {
    if (event) stream.wait(*event);
  }
  // In pieces, so that a cold start's copies get between them.
  for (std::size_t begin = layout.loaded_bytes; begin < layout.resident_bytes; begin += kPromotedPieceBytes) {
    const std::size_t bytes = std::min(kPromotedPieceBytes, layout.resident_bytes - begin);
    links_->target().copy_from_host(device_base + begin, weights_->promoted_data() + (begin - layout.loaded_bytes),
                                    bytes, stream);
  }
  std::shared_ptr<Event> promoted = links_->target().create_event();
  stream.record(*promoted);
  return promoted;
}

void Loader::synchronize() {
  // A coded piece is on its way on the write stream first; if decoding it was never issued, nothing else waits for it.
  std::set<Stream*> used;
  for (const Group& group : groups_) used.insert({&links_->write_stream(group.link), &last_stream(group)});
  for (Stream* stream : used) stream->synchronize();
  links_->idle_stream().synchronize();
}

void Loader::issue_piece(const Piece& piece) {
  Group& group = groups_[static_cast<std::size_t>(piece.group)];
  if (timing_ && piece.first) {
    Stream& clock = clock_stream(group.link);
    links_->load_stream(group.link).record(*group.departed);
    clock.wait(*group.departed);
    clock.record(*group.start);
  }
  if (piece.in_coded_group) {
    links_->send_coded(group.link, device_base_ + piece.offset, piece.bytes, piece.source, piece.coding);
  } else {
    links_->send(group.link, device_base_ + piece.offset, piece.source, piece.bytes);
  }
  if (!piece.last) return;
  last_stream(group).record(*group.ready);
  group.issued = true;
  if (timing_) {
    Stream& clock = clock_stream(group.link);
    clock.wait(*group.ready);
    clock.record(*group.end);
  }
}

void Loader::set_timed(bool timed) { timed_ = timed; }

void Loader::make_timed_events() {
  if (!clock_streams_.empty()) return;
  Device& target = links_->target();
  clock_streams_.resize(static_cast<std::size_t>(links_->count()));
  for (Group& group : groups_) {
    auto& clock = clock_streams_[static_cast<std::size_t>(group.link)];
    if (clock == nullptr && (group.link > 0 || group.coded)) clock = target.create_stream();
    group.departed = links_->device(group.link).create_event();
    group.start = target.create_event(EventKind::Timed);
    group.end = target.create_event(EventKind::Timed);
  }
}

Stream& Loader::clock_stream(int link) const {
  const auto& own = clock_streams_[static_cast<std::size_t>(link)];
  return own ? *own : links_->load_stream(link);
}

std::vector<GroupTimes> Loader::group_times_ms(const Event& reference) const {
  if (!timing_ || next_ < pieces_.size()) {
    throw InvalidArgument("group times need a cold start that was timed and issued to its end: " +
                          std::to_string(next_) + " of " + std::to_string(pieces_.size()) + " pieces were issued");
  }
  std::vector<GroupTimes> times;
  for (const Group& group : groups_) {
    group.end->synchronize();
    times.push_back({group.start->elapsed_ms_since(reference), group.end->elapsed_ms_since(reference)});
  }
  return times;
}

}  // namespace deepplan
