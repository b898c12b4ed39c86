// What a planner has to know of the ways into a target.
#pragma once

#include <cstddef>
#include <vector>

#include "core/pinned_arena.h"
#include "runtime/links.h"

namespace deepplan {

// A copy of b bytes takes latency_ms + b / gbps; GB/s are 1e9 bytes a second.
struct LinkCost {
  double latency_ms = 0;
  double gbps = 0;
};

// What the first `count` of `links` cost while all of them carry. The latency is of copies so small that issuing them
// is what they cost; one thread issues for all links in turn, as in a cold start, so it is that of a round of one copy
// on each. The rate is that of `bytes` over each. Medians of `repeats`. Takes count x bytes of pinned memory, and a
// staging buffer's worth on the target for each link, for as long. Nothing else should use the links. InvalidArgument
// for links that are not there, too few bytes for a measurement, or no repeat.
std::vector<LinkCost> measure_link_costs(Links& links, int count, std::size_t bytes, PinnedArena& arena, int repeats);

}  // namespace deepplan
