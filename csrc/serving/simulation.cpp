#include "serving/simulation.h"

#include <functional>
#include <queue>
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

class ServingSimulation {
 public:
  ServingSimulation(ServingSetup setup, std::span<const double> arrivals_ms)
      : scheduler_(std::move(setup)), arrivals_ms_(arrivals_ms) {
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
    while (!ends_.empty() && ends_.top().first <= end_ms) {
      const auto [now_ms, gpu] = ends_.top();
      ends_.pop();
      for (int idle : scheduler_.finish(gpu, now_ms)) start(idle, now_ms);
    }
  }

  SimulatedRequests take_result() {
    requests_.counters = scheduler_.counters();
    return std::move(requests_);
  }

 private:
  void start(int gpu, double now_ms) {
    const auto job = scheduler_.start(gpu, now_ms);
    if (!job) return;
    const double end_ms = now_ms + job->predicted_ms;
    for (std::int64_t request : job->requests) {
      requests_.latency_ms[request] = end_ms - arrivals_ms_[request];
      requests_.cold[request] = job->cold;
    }
    ends_.emplace(end_ms, gpu);
  }

  using End = std::pair<double, int>;  // time in ms, GPU

  Scheduler scheduler_;
  std::span<const double> arrivals_ms_;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  SimulatedRequests requests_;
};

}  // namespace

SimulatedRequests simulate_serving(ServingSetup setup, std::span<const double> arrivals_ms,
                                   std::span<const std::int32_t> instances) {
  check_arrivals(arrivals_ms, instances);
  ServingSimulation simulation(std::move(setup), arrivals_ms);
  for (std::size_t i = 0; i < instances.size(); ++i) simulation.arrive(static_cast<std::int64_t>(i), instances[i]);
  simulation.finish_until(std::numeric_limits<double>::infinity());
  return simulation.take_result();
}

}  // namespace deepplan
