#include "serving/scheduler.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"

namespace deepplan {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kRoundingMs = 1e-6;  // sums of times that are equal differ by less

ServingSetup checked(ServingSetup setup) {
  const SchedulerOptions& options = setup.options;
  if (options.gpus < 1) throw InvalidArgument("gpus is " + std::to_string(options.gpus) + ": give at least 1");
  if (options.most_links < 1) {
    throw InvalidArgument("most_links is " + std::to_string(options.most_links) + ": give at least 1, a GPU's own");
  }
  if (options.gpus_per_host < options.gpus &&
      (options.gpus_per_host < 1 || options.gpus_per_host % options.most_links)) {
    throw InvalidArgument("gpus_per_host is " + std::to_string(options.gpus_per_host) +
                          ": give a multiple of most_links, " + std::to_string(options.most_links));
  }
  if (!(options.objective_ms > 0)) {
    throw InvalidArgument("objective_ms is " + std::to_string(options.objective_ms) +
                          ": give a positive time, or infinity to refuse nothing");
  }
  for (std::size_t i = 0; i < setup.models.size(); ++i) check_served_model(setup.models[i], i);
  for (int model : setup.instance_model) {
    if (model >= 0 && model < std::ssize(setup.models)) continue;
    throw InvalidArgument("an instance is of model " + std::to_string(model) + ", of " +
                          std::to_string(setup.models.size()) + " models: number them from 0");
  }
  if (!options.pinned.empty() && options.pinned.size() != setup.instance_model.size()) {
    throw InvalidArgument("pinned has " + std::to_string(options.pinned.size()) + " entries for " +
                          std::to_string(setup.instance_model.size()) + " instances: give one for each, or none");
  }
  return setup;
}

std::vector<std::size_t> instance_bytes(const ServingSetup& setup) {
  std::vector<std::size_t> bytes;
  bytes.reserve(setup.instance_model.size());
  for (int model : setup.instance_model) bytes.push_back(setup.models[model].device_bytes);
  return bytes;
}

}  // namespace

Scheduler::Scheduler(ServingSetup setup)
    : setup_(checked(std::move(setup))),
      ledger_(setup_.options.gpus, setup_.options.gpu_bytes, instance_bytes(setup_), setup_.options.pinned),
      links_(setup_.options.gpus, setup_.options.most_links, setup_.options.gpus_per_host),
      queues_(setup_.options.gpus, static_cast<int>(setup_.instance_model.size())),
      order_(setup_.options.gpus),
      gpus_(setup_.options.gpus) {}

// The latest time at which what is queued next begins. A lent link is waited for by the first cold start in the queue;
// where in the queue that stands is not known here, so its wait is counted from the end of the running job.
double Scheduler::begin_ms(int gpu, bool cold) const {
  const Gpu& state = gpus_[gpu];
  const double own_link_ms = links_.lent_until_ms(gpu);
  if (links_.expected(gpu)) return std::max(state.free_ms, own_link_ms) + state.queued_ms;
  const double begin_ms = state.free_ms + state.queued_ms;
  return cold ? std::max(begin_ms, own_link_ms) : begin_ms;
}

// What begins at once leases the links that are free now, and knows who else loads; what waits can be sure of its own
// link only, and of nothing else.
double Scheduler::planned_cold_ms(int gpu, const ServedModel& model) const {
  const int links = is_idle(gpu) ? links_.available(gpu) : 0;
  const BatchCost& alone = model.batches.front();
  return links > 0 ? fastest_cold(alone, links, links_used(gpu)).ms : fastest_cold(alone, 1, kAllOthers).ms;
}

Admission Scheduler::submit(std::int64_t request, int instance, double now_ms) {
  if (instance < 0 || instance >= std::ssize(setup_.instance_model)) {
    throw InvalidArgument("instance " + std::to_string(instance) + " of " +
                          std::to_string(setup_.instance_model.size()) + ": number them from 0");
  }
  const ServedModel& model = model_of(instance);
  const int home = ledger_.home_of(instance);
  const int gpu = home == ResidencyLedger::kNowhere ? order_.earliest() : home;
  const bool cold = !ledger_.stays(instance);
  const double planned_ms = cold ? planned_cold_ms(gpu, model) : model.batches.front().warm_ms;
  const double end_ms = std::max(begin_ms(gpu, cold), now_ms) + planned_ms;
  // In predicted time. What can begin at once is tried: without runs nobody learns that they are faster again.
  const double objective_ms = setup_.options.objective_ms / (is_idle(gpu) ? 1 : slowdown_);
  const double deadline_ms = now_ms + objective_ms;
  if (end_ms > deadline_ms) {
    ++counters_.refused;
    const BatchCost& alone = model.batches.front();
    const double least_ms = cold ? fastest_cold(alone, setup_.options.most_links, 0).ms : alone.warm_ms;
    return {false, gpu, end_ms,
            least_ms > setup_.options.objective_ms ? kInfinity : slowdown_ * (end_ms - deadline_ms)};
  }

  ++counters_.accepted;
  int evictions = 0;
  if (cold) {
    evictions = ledger_.plan_load(gpu, instance);
    links_.expect(gpu);
  } else {
    ledger_.touch(instance);
  }
  queues_.push(gpu, {request, instance, cold, evictions, planned_ms, deadline_ms});
  gpus_[gpu].queued_ms += planned_ms;
  reorder(gpu);
  return {true, gpu, end_ms, 0};
}

// How many queued requests of the oldest one's instance to run with it: as many as make the batch faster than running
// them one by one, and nobody late who would not be anyway. Those that the batch overtakes wait for all of it.
int Scheduler::choose_batch(int gpu, int links, double now_ms) const {
  const RequestQueues::Position oldest = queues_.first(gpu);
  const QueuedRequest& head = queues_.at(oldest);
  const ServedModel& model = model_of(head.instance);
  const int others = head.cold ? links_used(gpu) : 0;
  const auto run_ms = [&](int requests) {
    const BatchCost& batch = model.padded(requests);
    return head.cold ? fastest_cold(batch, links, others).ms : batch.warm_ms;
  };
  const bool someone_can_be_late = setup_.options.objective_ms < kInfinity;
  const double alone_ms = run_ms(1);
  const double warm_ms = model.batches.front().warm_ms;
  double limit_ms = kInfinity;  // of the batch, set by the deadlines of its first and of those it overtakes
  if (now_ms + alone_ms <= head.deadline_ms + kRoundingMs) limit_ms = head.deadline_ms - now_ms;
  double overtaken_ms = 0;
  int count = 1;
  int best = 1;
  RequestQueues::Position position = oldest;
  RequestQueues::Position member = queues_.next_alike(oldest);
  while (member != RequestQueues::kNone && count < model.largest_batch() && limit_ms >= alone_ms) {
    position = someone_can_be_late ? queues_.next(position) : member;
    if (position != member) {
      const QueuedRequest& overtaken = queues_.at(position);
      overtaken_ms += overtaken.planned_ms;
      const double slack_ms = overtaken.deadline_ms - now_ms - overtaken_ms;
      if (alone_ms + (count - 1) * warm_ms <= slack_ms + kRoundingMs) limit_ms = std::min(limit_ms, slack_ms);
      continue;
    }
    ++count;
    const double batch_ms = run_ms(count);
    if (batch_ms <= limit_ms && batch_ms <= alone_ms + (count - 1) * warm_ms) best = count;
    member = queues_.next_alike(member);
  }
  return best;
}

void Scheduler::take(int gpu, int instance, int count) {
  requests_.clear();
  RequestQueues::Position position = queues_.first(gpu);
  for (; count > 0; --count) {
    const QueuedRequest& taken = queues_.at(position);
    requests_.push_back(taken.request);
    const double planned_ms = taken.planned_ms;
    position = queues_.next_alike(position);
    queues_.pop_of_instance(gpu, instance);
    leave_queue(gpu, planned_ms);
  }
}

void Scheduler::leave_queue(int gpu, double planned_ms) {
  gpus_[gpu].queued_ms -= planned_ms;
  if (queues_.first(gpu) == RequestQueues::kNone) gpus_[gpu].queued_ms = 0;  // rounding does not add up
}

std::optional<Job> Scheduler::start(int gpu, double now_ms) {
  const RequestQueues::Position oldest = queues_.first(gpu);
  Gpu& state = gpus_[gpu];
  if (state.running != kNothing || oldest == RequestQueues::kNone) return std::nullopt;
  const QueuedRequest head = queues_.at(oldest);
  const int links = head.cold ? links_.available(gpu) : 0;
  if (head.cold && links == 0) return std::nullopt;

  const int count = choose_batch(gpu, links, now_ms);
  const BatchCost& batch = model_of(head.instance).padded(count);
  take(gpu, head.instance, count);
  leased_.clear();
  evicted_.clear();
  double run_ms = batch.warm_ms;
  if (head.cold) {
    const ColdCost cost = fastest_cold(batch, links, links_used(gpu));
    run_ms = cost.ms;
    links_.lease(gpu, cost.links, now_ms + run_ms, leased_);
    ledger_.carry_out_load(head.instance, head.evictions, evicted_);
    ++counters_.cold_starts;
    counters_.evictions += evicted_.size();
  }
  state.running = head.instance;
  state.free_ms = now_ms + run_ms;
  reorder(gpu);
  for (int lender : leased_) reorder(lender);
  return Job{head.instance, batch.size, requests_, head.cold, leased_, evicted_, run_ms};
}

std::span<const int> Scheduler::finish(int gpu, double now_ms) {
  Gpu& state = gpus_.at(gpu);
  if (state.running == kNothing) throw InvalidArgument("GPU " + std::to_string(gpu) + " runs nothing that could end");
  state.running = kNothing;
  state.free_ms = now_ms;
  idle_.assign(1, gpu);
  links_.give_back(gpu, idle_);
  for (int changed : idle_) reorder(changed);
  return idle_;
}

std::pair<int, int> Scheduler::host_of(int gpu) const {
  const int size = std::min(setup_.options.gpus_per_host, gpu_count());
  const int begin = gpu / size * size;
  return {begin, std::min(begin + size, gpu_count())};
}

bool Scheduler::cancel(std::int64_t request, int instance) {
  const int gpu = ledger_.gpu_of(instance);
  if (gpu == ResidencyLedger::kNowhere) return false;
  const std::optional<double> planned_ms = queues_.remove(gpu, instance, request);
  if (!planned_ms) return false;
  ++counters_.cancelled;
  leave_queue(gpu, *planned_ms);
  reorder(gpu);
  return true;
}

bool Scheduler::evict(int instance) {
  const int gpu = ledger_.gpu_of(instance);
  if (gpu == ResidencyLedger::kNowhere || gpus_[gpu].running == instance || queues_.any_of(instance)) return false;
  if (!ledger_.drop(instance)) return false;
  ++counters_.evictions;
  return true;
}

}  // namespace deepplan
