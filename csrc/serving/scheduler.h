#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "serving/gpu_order.h"
#include "serving/link_leases.h"
#include "serving/request_queues.h"
#include "serving/residency_ledger.h"
#include "serving/served_model.h"

namespace deepplan {

struct SchedulerOptions {
  int gpus = 1;
  std::size_t gpu_bytes = 0;
  double objective_ms = std::numeric_limits<double>::infinity();  // infinity: nothing is refused
  int most_links = 1;             // links a cold start may use: those of its partition of so many consecutive GPUs
  std::vector<bool> pinned = {};  // by instance; empty: none is
  // Those of one host share its memory, which what BatchCost::crowded_ms says is about. As it is: all of them.
  int gpus_per_host = std::numeric_limits<int>::max();
};

// What is to be served, by which GPUs.
struct ServingSetup {
  std::vector<ServedModel> models;
  std::vector<int> instance_model;  // of each instance, the index of its model
  SchedulerOptions options;
};

struct Admission {
  bool accepted = false;
  int gpu = 0;  // where it is queued, or would have been
  double predicted_end_ms = 0;
  // Of a refused request: it would be accepted so much later if no other came. Infinity: it takes longer than the
  // objective by itself.
  double retry_after_ms = 0;
};

// One run. The spans hold until the scheduler's next call.
struct Job {
  int instance = 0;
  int batch_size = 1;                      // the planned size that the requests are padded up to
  std::span<const std::int64_t> requests;  // oldest first
  bool cold = false;
  std::span<const int> links;    // of a cold start: the GPUs whose links it may use until it ends, its own first
  std::span<const int> evicted;  // instances that leave the GPU before it begins
  double predicted_ms = 0;
};

struct ServingCounters {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;
  std::uint64_t cold_starts = 0;
  std::uint64_t evictions = 0;
  std::uint64_t cancelled = 0;  // of those accepted
};

// Which GPU serves a request, when, with whom, and what leaves memory for it. A state machine: whoever knows the time,
// a server or a simulation, tells it what happened, in order; the same calls give the same answers. Not thread-safe.
//
// A GPU runs one job at a time, the oldest queued request first. A request is accepted only if it is predicted to end
// within the objective. What is accepted later never delays it beyond that: it is queued behind, batches that overtake
// others are as large as those can bear, and a link that a queued cold start needs is not lent. So, while jobs take
// what they are predicted to, no accepted request is late.
//
// Times are ms on the caller's clock and never go back. A request costs O(log GPUs), a job besides a walk over its
// queue, as far as the last request that it is batched with and no further than the deadlines in between allow.
class Scheduler {
 public:
  // InvalidArgument where costs or counts are out of range, or memory is too small for an instance.
  explicit Scheduler(ServingSetup setup);

  // A request came, under a number of the caller's own. It goes to the GPU where its instance is or will be, else to
  // the one that can begin a cold start first. If it is accepted, call start() for that GPU before submitting another.
  Admission submit(std::int64_t request, int instance, double now_ms);
  // The GPU's next job, which begins now. None while it is busy, has nothing queued or must wait for its own link.
  std::optional<Job> start(int gpu, double now_ms);
  // The GPU's job ended. Returns the GPUs to call start() for: this one, and those whose links it gives back. The span
  // holds until the next call of finish().
  std::span<const int> finish(int gpu, double now_ms);

  // Nobody waits for a request any more: it leaves the queue. Not one that runs, nor one for which alone its instance
  // is to be brought in, since others may count on what goes for it: false then.
  bool cancel(std::int64_t request, int instance);
  // The instance leaves its GPU now. False, and nothing happens, if it is not there to stay, is pinned, or something of
  // it is queued or runs.
  bool evict(int instance);

  // Jobs take so many times what they are predicted to, from now on. Requests are admitted accordingly: the objective
  // counts as so many times shorter. 1 or more.
  void set_slowdown(double slowdown) { slowdown_ = slowdown; }

  int gpu_count() const { return static_cast<int>(gpus_.size()); }
  int instance_count() const { return static_cast<int>(setup_.instance_model.size()); }
  const ServedModel& model_of(int instance) const { return setup_.models[setup_.instance_model[instance]]; }
  // How many links of the GPU's host are loaded over, its own among them.
  int links_used(int gpu) const { return links_.used_of_host(gpu); }
  // The GPUs of this one's host: the first, and behind the last.
  std::pair<int, int> host_of(int gpu) const;
  // Where an instance is or will be; ResidencyLedger::kNowhere.
  int gpu_of(int instance) const { return ledger_.gpu_of(instance); }
  const ServingCounters& counters() const { return counters_; }
  std::size_t resident_bytes(int gpu) const { return ledger_.resident_bytes(gpu); }

 private:
  static constexpr int kNothing = -1;

  struct Gpu {
    int running = kNothing;                                     // the instance
    double free_ms = -std::numeric_limits<double>::infinity();  // when its job is predicted to end, or the last ended
    double queued_ms = 0;                                       // planned time of all that is queued
  };

  bool is_idle(int gpu) const { return gpus_[gpu].running == kNothing && queues_.first(gpu) == RequestQueues::kNone; }
  double begin_ms(int gpu, bool cold) const;
  double planned_cold_ms(int gpu, const ServedModel& model) const;
  int choose_batch(int gpu, int links, double now_ms) const;
  void take(int gpu, int instance, int count);
  void leave_queue(int gpu, double planned_ms);
  void reorder(int gpu) { order_.set(gpu, begin_ms(gpu, true)); }

  ServingSetup setup_;
  ResidencyLedger ledger_;
  LinkLeases links_;
  RequestQueues queues_;
  GpuOrder order_;  // by when a cold start that is queued now can begin
  std::vector<Gpu> gpus_;
  double slowdown_ = 1;
  ServingCounters counters_;
  // What a Job's and finish()'s spans point at, kept for their memory.
  std::vector<std::int64_t> requests_;
  std::vector<int> leased_;
  std::vector<int> evicted_;
  std::vector<int> idle_;
};

}  // namespace deepplan
