#include "runtime/piece_order.h"

#include <algorithm>
#include <deque>

namespace deepplan {
namespace {

// A group's pieces, of about equal size: a short last one would cost a copy's latency for few bytes.
void cut(int group, const Extent& extent, std::size_t most_bytes, std::deque<Piece>& pieces) {
  const std::size_t count = std::max<std::size_t>(1, (extent.bytes + most_bytes - 1) / most_bytes);
  const std::size_t even = (extent.bytes + count - 1) / count;
  const std::size_t share = (even + kTensorAlignmentBytes - 1) / kTensorAlignmentBytes * kTensorAlignmentBytes;
  std::size_t done = 0;
  do {
    const std::size_t bytes = std::min(share, extent.bytes - done);
    pieces.push_back({group, extent.offset + done, bytes, done == 0, done + bytes == extent.bytes});
    done += bytes;
  } while (done < extent.bytes);
}

}  // namespace

std::vector<Piece> order_pieces(const std::vector<Extent>& groups, const std::vector<int>& route, int link_count,
                                std::size_t slot_bytes) {
  struct Lane {
    std::deque<Piece> pieces;
    std::size_t given_bytes = 0;
  };
  std::vector<Lane> lanes(static_cast<std::size_t>(link_count));
  for (std::size_t group = 0; group < groups.size(); ++group) {
    const int link = route[group];
    const std::size_t most_bytes = link == 0 ? std::max<std::size_t>(groups[group].bytes, 1) : slot_bytes;
    cut(static_cast<int>(group), groups[group], most_bytes, lanes[static_cast<std::size_t>(link)].pieces);
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
    next->given_bytes += next->pieces.front().bytes;
    order.push_back(next->pieces.front());
    next->pieces.pop_front();
  }
}

}  // namespace deepplan
