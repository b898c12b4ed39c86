#include "serving/link_leases.h"

#include <algorithm>
#include <limits>

namespace deepplan {

int LinkLeases::partition_end(int gpu) const {
  return std::min(partition_begin(gpu) + most_links_, static_cast<int>(links_.size()));
}

int LinkLeases::available(int gpu) const {
  if (links_[gpu].holder != kFree) return 0;
  int count = 1;
  for (int other = partition_begin(gpu); other < partition_end(gpu); ++other) count += other != gpu && lends(other);
  return count;
}

void LinkLeases::lease(int gpu, int count, double until_ms, std::vector<int>& leased) {
  const auto take = [&](int link) {
    links_[link].holder = gpu;
    links_[link].until_ms = until_ms;
    leased.push_back(link);
    ++used_[gpu / gpus_per_host_];
    --count;
  };
  --links_[gpu].expected;
  take(gpu);
  for (int other = partition_begin(gpu); count > 0 && other < partition_end(gpu); ++other) {
    if (lends(other)) take(other);
  }
}

void LinkLeases::give_back(int gpu, std::vector<int>& returned) {
  if (links_[gpu].holder != gpu) return;
  for (int link = partition_begin(gpu); link < partition_end(gpu); ++link) {
    if (links_[link].holder != gpu) continue;
    links_[link].holder = kFree;
    --used_[gpu / gpus_per_host_];
    if (link != gpu) returned.push_back(link);
  }
}

double LinkLeases::lent_until_ms(int gpu) const {
  const Link& link = links_[gpu];
  const bool lent = link.holder != kFree && link.holder != gpu;
  return lent ? link.until_ms : -std::numeric_limits<double>::infinity();
}

}  // namespace deepplan
