#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "core/weight_code.h"
#include "runtime/weight_layout.h"

namespace deepplan {

// One copy of a cold start: a whole group on link 0, at most a staging buffer's worth of one on a helper, and a stretch
// that is decoded by itself of a coded group.
struct Piece {
  int group = 0;
  std::size_t offset = 0;          // in device memory
  std::size_t bytes = 0;           // there; 0 for a group without bytes: nothing to copy, but it has arrived
  const char* source = nullptr;    // in pinned memory
  std::size_t crossing_bytes = 0;  // there, and over the link
  bool in_coded_group = false;     // it goes by way of a decoder, even if it is plain itself
  std::optional<CodedPiece> coding = std::nullopt;
  bool first = false;  // of its group
  bool last = false;
};

// `bytes` as lengths of at most `most_bytes`, about equal, all but the last multiples of the tensors' alignment: a
// short last one would cost a copy's latency for few bytes. One of 0 bytes for nothing.
std::vector<std::size_t> even_shares(std::size_t bytes, std::size_t most_bytes);

// The pieces in the order in which one thread should issue them: on each link group after group, and between links
// whichever has been given the fewest bytes so far (ties: the lower group), so that none runs dry. `groups` has the
// pieces of each group, `route` the link of each.
std::vector<Piece> order_pieces(const std::vector<std::vector<Piece>>& groups, const std::vector<int>& route,
                                int link_count);

}  // namespace deepplan
