#include "serving/dispatcher.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "core/error.h"

namespace deepplan {
namespace {

constexpr double kLearningRate = 0.1;
constexpr double kMostSlowdown = 10;  // of a job that counts; more is a stall
constexpr double kPatience = 100;     // times its prediction that a job may take

}  // namespace

Dispatcher::Dispatcher(ServingSetup setup, JobRunner& runner)
    : runner_(runner), epoch_(std::chrono::steady_clock::now()), scheduler_(std::move(setup)) {
  const int gpus = scheduler_.gpu_count();
  queued_.assign(gpus, 0);
  for (int gpu = 0; gpu < gpus; ++gpu) workers_.push_back(std::make_unique<Worker>());
  try {
    for (int gpu = 0; gpu < gpus; ++gpu) workers_[gpu]->thread = std::thread([this, gpu] { work(gpu); });
  } catch (...) {
    stop();  // those that began
    throw;
  }
}

void Dispatcher::stop() {
  {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(ending_, true)) return;
  }
  for (const auto& worker : workers_) worker->changed.notify_one();
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

double Dispatcher::now_ms() const {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - epoch_).count();
}

Admission Dispatcher::submit(std::int64_t request, int instance) {
  const std::scoped_lock lock(mutex_);
  if (ending_) throw InvalidArgument("request " + std::to_string(request) + " comes after the end");
  const double now = now_ms();
  const Admission admission = scheduler_.submit(request, instance, now);
  if (admission.accepted) {
    ++queued_[admission.gpu];
    waiting_[request] = {instance, now};
    start(admission.gpu, now);
  }
  return admission;
}

bool Dispatcher::cancel(std::int64_t request) {
  const std::scoped_lock lock(mutex_);
  const auto waiting = waiting_.find(request);
  if (waiting == waiting_.end()) return false;
  const int gpu = scheduler_.gpu_of(waiting->second.instance);
  if (!scheduler_.cancel(request, waiting->second.instance)) return false;
  --queued_[gpu];
  waiting_.erase(waiting);
  return true;
}

void Dispatcher::evict(int instance) {
  const std::scoped_lock lock(mutex_);
  const int gpu = scheduler_.gpu_of(instance);
  if (gpu == ResidencyLedger::kNowhere) return;
  to_evict_.insert(instance);  // once, however often it is asked
  evict_wanted(gpu);
}

void Dispatcher::evict_wanted(int gpu) {
  const auto has_left = [&](int instance) {
    if (scheduler_.gpu_of(instance) == ResidencyLedger::kNowhere) return true;
    if (scheduler_.gpu_of(instance) != gpu || !scheduler_.evict(instance)) return false;
    runner_.evict(gpu, instance);
    return true;
  };
  std::erase_if(to_evict_, has_left);
  std::erase_if(absent_, has_left);
}

void Dispatcher::start(int gpu, double now) {
  const std::optional<Job> job = scheduler_.start(gpu, now);
  if (!job) return;
  queued_[gpu] -= static_cast<int>(job->requests.size());
  workers_[gpu]->job = DispatchedJob{.gpu = gpu,
                                     .instance = job->instance,
                                     .batch_size = job->batch_size,
                                     .requests = {job->requests.begin(), job->requests.end()},
                                     .cold = job->cold,
                                     .links = {job->links.begin(), job->links.end()},
                                     .evicted = {job->evicted.begin(), job->evicted.end()},
                                     .submitted_ms = now,
                                     .predicted_ms = job->predicted_ms};
  workers_[gpu]->changed.notify_one();
}

void Dispatcher::work(int gpu) {
  Worker& worker = *workers_[gpu];
  std::unique_lock lock(mutex_);
  while (true) {
    worker.changed.wait(lock, [&] { return worker.job.has_value() || ending_; });
    if (!worker.job) return;
    const DispatchedJob job = std::move(*worker.job);
    worker.job.reset();
    const double begun_ms = now_ms();
    worker.overdue_at_ms = begun_ms + kPatience * job.predicted_ms;
    lock.unlock();
    std::vector<EndedRequest> ended = carry_out(job);
    lock.lock();
    worker.overdue_at_ms.reset();
    end(job, begun_ms, std::move(ended));
  }
}

Dispatcher::Outcome Dispatcher::run(const DispatchedJob& job) {
  try {
    return {.cold = runner_.run(job)};
  } catch (const DeviceError& caught) {
    return {job.cold, caught.message(), true};
  } catch (const Error& caught) {
    return {job.cold, caught.message()};
  } catch (const std::exception& caught) {
    return {job.cold, caught.what()};
  }
}

// A call that fails must not fail those that happened to run with it: each is tried by itself then.
std::vector<EndedRequest> Dispatcher::carry_out(const DispatchedJob& job) {
  std::vector<EndedRequest> ended;
  const auto note = [&](const DispatchedJob& done, const Outcome& outcome) {
    for (const std::int64_t request : done.requests) {
      ended.push_back({.request = request,
                       .gpu = done.gpu,
                       .cold = outcome.cold,
                       .links = outcome.cold ? std::max(1, static_cast<int>(done.links.size())) : 0,
                       .batch_size = done.batch_size,
                       .leads_batch = request == done.requests.front(),
                       .error = outcome.error,
                       .device_failed = outcome.device_failed});
    }
  };
  const Outcome together = run(job);
  if (together.error.empty() || together.device_failed || job.requests.size() == 1) {
    note(job, together);
    return ended;
  }
  DispatchedJob alone = job;
  alone.batch_size = 1;
  alone.evicted.clear();
  for (const std::int64_t request : job.requests) {
    alone.requests = {request};
    const Outcome outcome = run(alone);
    if (outcome.error.empty()) alone.cold = false;  // it is there for the next
    note(alone, outcome);
  }
  return ended;
}

// A moving average: one slow job says little, and what a machine can do changes.
void Dispatcher::learn(const DispatchedJob& job, double now) {
  const double ratio = std::min((now - job.submitted_ms) / job.predicted_ms, kMostSlowdown);
  slowdown_ = std::max(1.0, slowdown_ + kLearningRate * (ratio - slowdown_));
  scheduler_.set_slowdown(slowdown_);
}

void Dispatcher::end(const DispatchedJob& job, double begun_ms, std::vector<EndedRequest> ended) {
  const double now = now_ms();
  const bool as_planned = ended[0].batch_size == job.batch_size && ended[0].cold == job.cold;
  if (as_planned && ended[0].error.empty()) learn(job, now);
  const bool is_there =
      !job.cold || std::any_of(ended.begin(), ended.end(), [](const auto& each) { return each.error.empty(); });
  for (EndedRequest& each : ended) {
    const auto waiting = waiting_.find(each.request);
    each.queue_ms = begun_ms - waiting->second.submitted_ms;
    each.run_ms = now - begun_ms;
    waiting_.erase(waiting);
    ended_.push_back(std::move(each));
  }
  any_ended_.set();
  const std::span<const int> idle = scheduler_.finish(job.gpu, now);
  if (is_there) {
    absent_.erase(job.instance);  // another of its requests has brought it in
  } else {
    absent_.insert(job.instance);  // or the next would be taken for warm
  }
  evict_wanted(job.gpu);
  if (ending_) return;
  for (const int gpu : std::vector<int>(idle.begin(), idle.end())) start(gpu, now);
}

std::vector<EndedRequest> Dispatcher::wait_ended(std::chrono::milliseconds most) {
  any_ended_.wait(most);
  const std::scoped_lock lock(mutex_);
  any_ended_.clear();
  return std::exchange(ended_, {});
}

DispatcherStatus Dispatcher::status() const {
  const std::scoped_lock lock(mutex_);
  DispatcherStatus status{.counters = scheduler_.counters(),
                          .resident_bytes = {},
                          .queued = queued_,
                          .gpu_of = {},
                          .slowdown = slowdown_,
                          .overdue_ms = {}};
  const double now = now_ms();
  for (int gpu = 0; gpu < scheduler_.gpu_count(); ++gpu) {
    status.resident_bytes.push_back(scheduler_.resident_bytes(gpu));
    status.overdue_ms.push_back(std::max(0.0, now - workers_[gpu]->overdue_at_ms.value_or(now)));
  }
  for (int instance = 0; instance < scheduler_.instance_count(); ++instance) {
    status.gpu_of.push_back(scheduler_.gpu_of(instance));
  }
  return status;
}

}  // namespace deepplan
