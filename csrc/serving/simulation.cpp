#include "serving/simulation.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "core/error.h"

namespace deepplan {
namespace {

void check_arrivals(std::span<const double> arrivals_ms, std::span<const std::int32_t> instances) {
  if (arrivals_ms.size() != instances.size()) {
    throw InvalidArgument(std::to_string(arrivals_ms.size()) + " arrivals of " + std::to_string(instances.size()) +
                          " instances: give one instance for each arrival");
  }
  for (std::size_t i = 0; i < arrivals_ms.size(); ++i) {
    const double previous_ms = i == 0 ? -std::numeric_limits<double>::infinity() : arrivals_ms[i - 1];
    if (arrivals_ms[i] >= previous_ms && arrivals_ms[i] < std::numeric_limits<double>::infinity()) continue;
    throw InvalidArgument("arrival " + std::to_string(i) + " is at " + std::to_string(arrivals_ms[i]) +
                          " ms: give finite times, ascending");
  }
}

// How far a GPU's job has come.
struct Progress {
  std::vector<std::int64_t> requests;
  const BatchCost* cost = nullptr;
  int links = 0;        // those of a cold start
  double left = 0;      // the share that is still to be done
  double since_ms = 0;  // when that was so
  double whole_ms = 0;  // what all of it takes while nothing changes
};

class ServingSimulation {
 public:
  ServingSimulation(ServingSetup setup, std::span<const double> arrivals_ms)
      : scheduler_(std::move(setup)),
        arrivals_ms_(arrivals_ms),
        ends_(scheduler_.gpu_count()),
        jobs_(scheduler_.gpu_count()) {
    for (int gpu = 0; gpu < scheduler_.gpu_count(); ++gpu) ends_.set(gpu, kNever);
    const std::size_t count = arrivals_ms.size();
    requests_.latency_ms.assign(count, std::numeric_limits<double>::quiet_NaN());
    requests_.cold.assign(count, 0);
    requests_.refused.assign(count, 0);
    requests_.gpu.assign(count, 0);
  }

  void arrive(std::int64_t request, int instance) {
    const double now_ms = arrivals_ms_[request];
    finish_until(now_ms);
    const Admission admission = scheduler_.submit(request, instance, now_ms);
    requests_.gpu[request] = admission.gpu;
    requests_.refused[request] = !admission.accepted;
    if (admission.accepted) start(admission.gpu, now_ms);
  }

  void finish_until(double end_ms) {
    for (int gpu; ends_.time_ms(gpu = ends_.earliest()) <= end_ms;) finish(gpu, ends_.time_ms(gpu));
  }

  // What was accepted is served.
  SimulatedRequests take_result() {
    finish_until(std::numeric_limits<double>::max());
    requests_.counters = scheduler_.counters();
    return std::move(requests_);
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  void start(int gpu, double now_ms) {
    const auto job = scheduler_.start(gpu, now_ms);
    if (!job) return;
    Progress& progress = jobs_[gpu];
    progress.requests.assign(job->requests.begin(), job->requests.end());
    progress.cost = &scheduler_.model_of(job->instance).padded(job->batch_size);
    progress.links = static_cast<int>(job->links.size());
    progress.left = 1;
    progress.since_ms = now_ms;
    progress.whole_ms = job->predicted_ms;
    ends_.set(gpu, now_ms + job->predicted_ms);
    for (std::int64_t request : job->requests) requests_.cold[request] = job->cold;
    if (job->cold) loads_changed(gpu, now_ms);
  }

  void finish(int gpu, double now_ms) {
    Progress& progress = jobs_[gpu];
    for (std::int64_t request : progress.requests) requests_.latency_ms[request] = now_ms - arrivals_ms_[request];
    const bool cold = std::exchange(progress.links, 0) > 0;
    ends_.set(gpu, kNever);
    const std::span<const int> idle = scheduler_.finish(gpu, now_ms);
    if (cold) loads_changed(gpu, now_ms);
    for (int next : idle) start(next, now_ms);
  }

  // Others of this GPU's host load from now on, or do no more: cold starts under way go on faster or slower.
  void loads_changed(int changed, double now_ms) {
    const auto [begin, end] = scheduler_.host_of(changed);
    for (int gpu = begin; gpu < end; ++gpu) {
      Progress& progress = jobs_[gpu];
      if (progress.links == 0 || progress.cost->crowded_ms.empty()) continue;
      progress.left = std::max(0.0, progress.left - (now_ms - progress.since_ms) / progress.whole_ms);
      progress.since_ms = now_ms;
      progress.whole_ms = cold_ms(*progress.cost, progress.links, scheduler_.links_used(gpu) - progress.links);
      ends_.set(gpu, now_ms + progress.left * progress.whole_ms);
    }
  }

  Scheduler scheduler_;
  std::span<const double> arrivals_ms_;
  GpuOrder ends_;               // by when their jobs end
  std::vector<Progress> jobs_;  // by GPU
  SimulatedRequests requests_;
};

}  // namespace

SimulatedRequests simulate_serving(ServingSetup setup, std::span<const double> arrivals_ms,
                                   std::span<const std::int32_t> instances) {
  check_arrivals(arrivals_ms, instances);
  ServingSimulation simulation(std::move(setup), arrivals_ms);
  for (std::size_t i = 0; i < instances.size(); ++i) simulation.arrive(static_cast<std::int64_t>(i), instances[i]);
  return simulation.take_result();
}

}  // namespace deepplan
