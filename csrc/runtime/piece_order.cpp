#include "runtime/piece_order.h"

#include <algorithm>
#include <deque>

namespace deepplan {

std::vector<std::size_t> even_shares(std::size_t bytes, std::size_t most_bytes) {
  const std::size_t count = std::max<std::size_t>(1, (bytes + most_bytes - 1) / most_bytes);
  const std::size_t even = (bytes + count - 1) / count;
  const std::size_t share = (even + kTensorAlignmentBytes - 1) / kTensorAlignmentBytes * kTensorAlignmentBytes;
  std::vector<std::size_t> shares;
  do {
    shares.push_back(std::min(share, bytes));
    bytes -= shares.back();
  } while (bytes > 0);
  return shares;
}

std::vector<Piece> order_pieces(const std::vector<std::vector<Piece>>& groups, const std::vector<int>& route,
                                int link_count) {
  struct Lane {
    std::deque<Piece> pieces;
    std::size_t given_bytes = 0;
  };
  std::vector<Lane> lanes(static_cast<std::size_t>(link_count));
  for (std::size_t group = 0; group < groups.size(); ++group) {
    auto& pieces = lanes[static_cast<std::size_t>(route[group])].pieces;
    pieces.insert(pieces.end(), groups[group].begin(), groups[group].end());
  }
  std::vector<Piece> order;
  while (true) {
    Lane* next = nullptr;
    for (Lane& lane : lanes) {
      if (lane.pieces.empty()) continue;
      if (next == nullptr || lane.given_bytes < next->given_bytes ||
          (lane.given_bytes == next->given_bytes && lane.pieces.front().group < next->pieces.front().group)) {
        next = &lane;
      }
    }
    if (next == nullptr) return order;
    next->given_bytes += next->pieces.front().crossing_bytes;
    order.push_back(next->pieces.front());
    next->pieces.pop_front();
  }
}

}  // namespace deepplan
