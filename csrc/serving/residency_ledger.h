#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace deepplan {

// Which instances are in which GPU's memory, now and once everything queued has run.
//
// Every decision is made for the later state, when a request is queued: whether it will be cold, and who goes for it.
// A GPU runs its queue in order, so the present follows by carrying decisions out one after the other. Hence the budget
// that the later state keeps is kept always, an instance is never evicted while requests that count on it are queued,
// and a request's cost is known when it comes.
class ResidencyLedger {
 public:
  static constexpr int kNowhere = -1;

  // Pinned instances are spread over the GPUs, which keep room for them from the start; once brought in, they stay.
  // InvalidArgument where they do not fit, or leave some GPU without room for the largest other instance.
  ResidencyLedger(int gpus, std::size_t gpu_bytes, const std::vector<std::size_t>& instance_bytes,
                  const std::vector<bool>& pinned);

  // The GPU that has the instance now or will have it; an instance is on one GPU at a time.
  int gpu_of(int instance) const {
    const Instance& entry = instances_[instance];
    return entry.stays || entry.evictions_due > 0 ? entry.gpu : kNowhere;
  }
  // The only GPU that may have it: the same, and that which keeps room for a pinned one.
  int home_of(int instance) const { return instances_[instance].gpu; }
  // Whether a request queued now will find it resident.
  bool stays(int instance) const { return instances_[instance].stays; }
  // The instance becomes the most recently used one.
  void touch(int instance);
  // Makes room for an instance that does not stay, least recently used first, and counts it as staying. Returns how
  // many will be evicted for it. The GPU must be home_of(instance), unless that is nowhere.
  int plan_load(int gpu, int instance);
  // The oldest planned load not yet carried out begins: its evictions are appended to `evicted`.
  void carry_out_load(int instance, int evictions, std::vector<int>& evicted);
  // The instance leaves now; nothing is queued or runs that counts on it. False for one that does not stay or is
  // pinned.
  bool drop(int instance);
  // The bytes resident now, at most those of a GPU.
  std::size_t resident_bytes(int gpu) const { return gpus_[gpu].resident_bytes; }

 private:
  struct Instance {
    std::size_t bytes = 0;
    std::int32_t gpu = kNowhere;
    std::int32_t older = kNowhere;
    std::int32_t newer = kNowhere;
    std::int32_t evictions_due = 0;  // planned, not yet carried out
    bool stays = false;
    bool pinned = false;
  };
  struct Gpu {
    std::size_t resident_bytes = 0;
    std::size_t planned_bytes = 0;   // of those that stay, and kept for pinned ones
    std::int32_t oldest = kNowhere;  // pinned ones are not in this order
    std::int32_t newest = kNowhere;
    std::deque<std::int32_t> due;  // evictions in the order of the loads that they make room for
  };

  void place_pinned(int instance);
  void append(Gpu& gpu, int instance);
  void unlink(Gpu& gpu, int instance);

  std::size_t gpu_bytes_;
  std::vector<Instance> instances_;
  std::vector<Gpu> gpus_;
};

}  // namespace deepplan
