// What tests of the dispatcher have it run, and how they wait for it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "serving/dispatcher.h"
#include "serving/small_setups.h"

namespace deepplan::testing_setups {

// Notes what it is given. Jobs wait while `held`.
class NotingRunner : public JobRunner {
 public:
  bool run(const DispatchedJob& job) override {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(running_.insert(job.gpu).second) << "one job at a time on a GPU";
    for (const int victim : job.evicted) EXPECT_EQ(resident_[job.gpu].erase(victim), 1u);
    const bool was_there = !resident_[job.gpu].insert(job.instance).second;
    EXPECT_EQ(job.cold, !was_there);
    jobs_.push_back(job);
    changed_.notify_all();
    changed_.wait(lock, [&] { return !held_; });
    running_.erase(job.gpu);
    const bool fails = job.instance == failing_ || std::ranges::count(job.requests, bad_request_) > 0;
    if (fails && job.cold) resident_[job.gpu].erase(job.instance);
    if (fails) throw InvalidArgument("it failed");
    return job.cold;
  }

  void evict(int gpu, int instance) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_TRUE(resident_[gpu].erase(instance) == 1u || instance == failing_);
  }

  void hold(bool held) {
    const std::scoped_lock lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  void wait_for_jobs(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return jobs_.size() >= count; });
  }
  std::vector<DispatchedJob> jobs() {
    const std::scoped_lock lock(mutex_);
    return jobs_;
  }
  void fail(int instance) { failing_ = instance; }
  void fail_request(std::int64_t request) { bad_request_ = request; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  int failing_ = -1;
  std::int64_t bad_request_ = -1;
  std::set<int> running_;
  std::map<int, std::set<int>> resident_;
  std::vector<DispatchedJob> jobs_;
};

inline std::vector<EndedRequest> wait_for(Dispatcher& dispatcher, std::size_t count) {
  std::vector<EndedRequest> ended;
  while (ended.size() < count) {
    const auto more = dispatcher.wait_ended(std::chrono::milliseconds(100));
    ended.insert(ended.end(), more.begin(), more.end());
  }
  return ended;
}

inline ServingSetup two_instances() { return setup_of({simple_model(10)}, {0, 0}, {.gpus = 1, .gpu_bytes = 100}); }

}  // namespace deepplan::testing_setups
