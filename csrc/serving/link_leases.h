#pragma once

#include <vector>

namespace deepplan {

// Who loads over which GPU's link. GPUs form partitions of `most_links` consecutive ones, the last may be smaller, none
// of them across hosts of `gpus_per_host`; a cold start uses its GPU's own link and those that other GPUs of the
// partition lend it, and no link serves two.
//
// A GPU lends its link unless a cold start is running or queued there. So a queued cold start waits for its own link
// at most until the lease that ran when it was queued ends.
class LinkLeases {
 public:
  static constexpr int kFree = -1;

  LinkLeases(int gpus, int most_links, int gpus_per_host)
      : most_links_(most_links), gpus_per_host_(gpus_per_host), links_(gpus), used_((gpus - 1) / gpus_per_host + 1) {}

  // A cold start was queued on this GPU: its link is not lent any more until that has begun.
  void expect(int gpu) { ++links_[gpu].expected; }
  bool expected(int gpu) const { return links_[gpu].expected > 0; }
  // How many links a cold start could have now: none while the GPU's own is in use.
  int available(int gpu) const;
  // How many links of the GPU's host are loaded over.
  int used_of_host(int gpu) const { return used_[gpu / gpus_per_host_]; }
  // The expected cold start begins with `count` links, at most those available: appended to `leased`, its own first.
  void lease(int gpu, int count, double until_ms, std::vector<int>& leased);
  // Returns all that this GPU leased and appends those of other GPUs to `returned`. No-op where it leased none.
  void give_back(int gpu, std::vector<int>& returned);
  // When the link is expected back from another GPU: minus infinity where it is not lent.
  double lent_until_ms(int gpu) const;

 private:
  struct Link {
    int holder = kFree;  // the GPU that loads over it
    int expected = 0;    // cold starts queued
    double until_ms = 0;
  };

  int partition_begin(int gpu) const { return gpu / most_links_ * most_links_; }
  int partition_end(int gpu) const;
  bool lends(int gpu) const { return links_[gpu].holder == kFree && links_[gpu].expected == 0; }

  int most_links_;
  int gpus_per_host_;
  std::vector<Link> links_;
  std::vector<int> used_;  // links, by host
};

}  // namespace deepplan
