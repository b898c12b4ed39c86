#pragma once

#include <cstddef>
#include <vector>

#include "runtime/weight_layout.h"

namespace deepplan {

// One copy of a cold start: a whole group on link 0, at most a staging buffer's worth of one on a helper.
struct Piece {
  int group = 0;
  std::size_t offset = 0;  // in host and device memory alike
  std::size_t bytes = 0;   // 0 for a group without bytes: nothing to copy, but it has arrived
  bool first = false;      // of its group
  bool last = false;
};

// The pieces in the order in which one thread should issue them: on each link group after group, and between links
// whichever has been given the fewest bytes so far (ties: the lower group), so that none runs dry. `route` has one
// link a group.
std::vector<Piece> order_pieces(const std::vector<Extent>& groups, const std::vector<int>& route, int link_count,
                                std::size_t slot_bytes);

}  // namespace deepplan
