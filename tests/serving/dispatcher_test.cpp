#include "serving/dispatcher.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <system_error>

#include "core/error.h"
#include "serving/small_setups.h"

namespace deepplan {
namespace {

using std::chrono::milliseconds;
using testing_setups::setup_of;
using testing_setups::simple_model;

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

std::vector<EndedRequest> wait_for(Dispatcher& dispatcher, std::size_t count) {
  std::vector<EndedRequest> ended;
  while (ended.size() < count) {
    const auto more = dispatcher.wait_ended(milliseconds(100));
    ended.insert(ended.end(), more.begin(), more.end());
  }
  return ended;
}

ServingSetup two_instances() { return setup_of({simple_model(10)}, {0, 0}, {.gpus = 1, .gpu_bytes = 100}); }

TEST(Dispatcher, RunsARequestColdAndThenWarm) {
  NotingRunner runner;
  Dispatcher dispatcher(two_instances(), runner);
  EXPECT_TRUE(dispatcher.submit(5, 1).accepted);
  const EndedRequest cold = wait_for(dispatcher, 1)[0];
  EXPECT_EQ(cold.request, 5);
  EXPECT_TRUE(cold.cold);
  EXPECT_TRUE(cold.leads_batch);
  EXPECT_EQ(cold.error, "");
  EXPECT_GE(cold.queue_ms, 0);
  EXPECT_GE(cold.run_ms, 0);
  dispatcher.submit(6, 1);
  EXPECT_FALSE(wait_for(dispatcher, 1)[0].cold);
  EXPECT_EQ(dispatcher.status().resident_bytes[0], 10u);
  EXPECT_EQ(dispatcher.status().gpu_of, (std::vector<int>{-1, 0}));
}

TEST(Dispatcher, WaitsNoLongerThanItIsTold) {
  NotingRunner runner;
  Dispatcher dispatcher(two_instances(), runner);
  EXPECT_TRUE(dispatcher.wait_ended(milliseconds(1)).empty());
}

TEST(Dispatcher, LearnsThatJobsTakeLongerThanPredicted) {
  struct SlowRunner : JobRunner {
    bool run(const DispatchedJob& job) override {
      std::this_thread::sleep_for(milliseconds(job.cold ? 30 : 3));
      return job.cold;
    }
    void evict(int, int) override {}
  } runner;
  Dispatcher dispatcher(setup_of({simple_model(10)}, {0}, {.gpus = 1, .gpu_bytes = 100, .objective_ms = 1000}), runner);
  EXPECT_EQ(dispatcher.status().slowdown, 1);
  for (int request = 0; request < 50; ++request) dispatcher.submit(request, 0);
  wait_for(dispatcher, 50);
  EXPECT_GT(dispatcher.status().slowdown, 2);
}

TEST(Dispatcher, AFailureIsItsOwnRequestsAlone) {
  NotingRunner runner;
  runner.fail(0);
  Dispatcher dispatcher(two_instances(), runner);
  dispatcher.submit(1, 0);
  dispatcher.submit(2, 1);
  for (const EndedRequest& ended : wait_for(dispatcher, 2)) {
    EXPECT_EQ(ended.error, ended.request == 1 ? "it failed" : "");
  }
}

TEST(Dispatcher, ABadCallDoesNotFailThoseItRunsWith) {
  for (const bool cold : {true, false}) {
    NotingRunner runner;
    ServedModel model = simple_model(10);
    model.batches.push_back({4, 2.0, {11.0}});
    Dispatcher dispatcher(setup_of({model}, {0, 0}, {.gpus = 1, .gpu_bytes = 100}), runner);
    runner.fail_request(3);
    runner.hold(true);
    dispatcher.submit(1, cold ? 1 : 0);
    runner.wait_for_jobs(1);
    for (const int request : {2, 3, 4, 5}) dispatcher.submit(request, 0);
    runner.hold(false);
    for (const EndedRequest& ended : wait_for(dispatcher, 5)) {
      EXPECT_EQ(ended.error, ended.request == 3 ? "it failed" : "");
      EXPECT_EQ(ended.batch_size, 1);
      EXPECT_TRUE(ended.leads_batch);
      EXPECT_EQ(ended.cold, ended.request == 1 || (cold && ended.request == 2));
    }
    EXPECT_EQ(runner.jobs().size(), 6u) << "one alone, four together and then one by one";
    EXPECT_EQ(runner.jobs()[1].batch_size, 4);
    EXPECT_EQ(dispatcher.status().gpu_of[0], 0);
  }
}

TEST(Dispatcher, NothingIsTriedAgainOnADeviceThatFailed) {
  struct LostDevice : JobRunner {
    bool run(const DispatchedJob& job) override {
      ++runs;
      if (job.requests.size() > 1) throw DeviceError("it is lost");
      std::this_thread::sleep_for(milliseconds(50));  // others queue meanwhile
      return job.cold;
    }
    void evict(int, int) override {}
    std::atomic<int> runs = 0;
  } runner;
  ServedModel model = simple_model(10);
  model.batches.push_back({2, 1.0, {10.0}});
  Dispatcher dispatcher(setup_of({model}, {0}, {.gpus = 1, .gpu_bytes = 100}), runner);
  for (int request = 0; request < 3; ++request) dispatcher.submit(request, 0);
  for (const EndedRequest& ended : wait_for(dispatcher, 3)) {
    EXPECT_EQ(ended.device_failed, ended.request != 0);
    EXPECT_EQ(ended.error, ended.request == 0 ? "" : "it is lost");
  }
  EXPECT_EQ(runner.runs, 2);
}

TEST(Dispatcher, WhatFailedToComeInIsNotThere) {
  NotingRunner runner;
  runner.fail(0);
  Dispatcher dispatcher(two_instances(), runner);
  dispatcher.submit(1, 0);
  EXPECT_EQ(wait_for(dispatcher, 1)[0].error, "it failed");
  EXPECT_EQ(dispatcher.status().gpu_of[0], -1);
  EXPECT_EQ(dispatcher.status().resident_bytes[0], 0u);
  dispatcher.submit(2, 0);
  wait_for(dispatcher, 1);
  EXPECT_TRUE(runner.jobs()[1].cold) << "it is brought in once more";
}

TEST(Dispatcher, ACancelledRequestIsNotRun) {
  NotingRunner runner;
  Dispatcher dispatcher(two_instances(), runner);
  runner.hold(true);
  dispatcher.submit(1, 0);
  runner.wait_for_jobs(1);
  dispatcher.submit(2, 0);
  dispatcher.submit(3, 1);
  EXPECT_EQ(dispatcher.status().queued[0], 2);
  EXPECT_FALSE(dispatcher.cancel(1)) << "it runs";
  EXPECT_TRUE(dispatcher.cancel(2));
  EXPECT_FALSE(dispatcher.cancel(2)) << "it is gone";
  EXPECT_FALSE(dispatcher.cancel(3)) << "its instance is to be brought in for it alone";
  EXPECT_FALSE(dispatcher.cancel(4)) << "there is none";
  runner.hold(false);
  const auto ended = wait_for(dispatcher, 2);
  EXPECT_EQ(ended[0].request, 1);
  EXPECT_EQ(ended[1].request, 3);
  EXPECT_EQ(dispatcher.status().queued[0], 0);
}

TEST(Dispatcher, EvictsWhatIsAskedForOnceNothingOfItIsLeft) {
  NotingRunner runner;
  Dispatcher dispatcher(two_instances(), runner);
  dispatcher.evict(0);  // it is nowhere
  runner.hold(true);
  dispatcher.submit(1, 0);
  runner.wait_for_jobs(1);
  dispatcher.evict(0);
  EXPECT_EQ(dispatcher.status().gpu_of[0], 0);
  runner.hold(false);
  wait_for(dispatcher, 1);
  while (dispatcher.status().gpu_of[0] != -1) std::this_thread::yield();
  dispatcher.submit(2, 0);
  EXPECT_TRUE(wait_for(dispatcher, 1)[0].cold);
}

// Whoever may ask for an eviction may ask without end.
TEST(Dispatcher, KeepsAnEvictionThatCannotBeOnlyOnce) {
  NotingRunner runner;
  SchedulerOptions options{.gpus = 1, .gpu_bytes = 100, .pinned = {true}};
  Dispatcher dispatcher(setup_of({simple_model(10)}, {0}, options), runner);
  dispatcher.submit(1, 0);
  wait_for(dispatcher, 1);
  for (int again = 0; again < 50'000; ++again) dispatcher.evict(0);  // seconds, under the lock, if each were kept
  EXPECT_EQ(dispatcher.status().gpu_of[0], 0);
}

TEST(Dispatcher, TakesNothingOnceItHasStopped) {
  NotingRunner runner;
  Dispatcher dispatcher(two_instances(), runner);
  dispatcher.submit(1, 0);
  dispatcher.stop();
  dispatcher.stop();
  EXPECT_EQ(wait_for(dispatcher, 1)[0].request, 1) << "what ran has ended";
  EXPECT_THROW(dispatcher.submit(2, 0), InvalidArgument);
}

TEST(Dispatcher, DropsWhatIsQueuedAtItsEnd) {
  NotingRunner runner;
  {
    Dispatcher dispatcher(two_instances(), runner);
    runner.hold(true);
    dispatcher.submit(1, 0);
    runner.wait_for_jobs(1);
    dispatcher.submit(2, 1);
    std::thread later([&] {
      std::this_thread::sleep_for(milliseconds(20));
      runner.hold(false);
    });
    later.detach();
  }
  EXPECT_EQ(runner.jobs().size(), 1u);
}

#ifndef __SANITIZE_THREAD__
#ifndef __SANITIZE_ADDRESS__  // both need address space themselves
TEST(Dispatcher, ThrowsWhereThereAreNoThreads) {
  const auto make = [] {
    const rlimit few{.rlim_cur = std::size_t{1} << 29, .rlim_max = std::size_t{1} << 29};
    setrlimit(RLIMIT_AS, &few);  // each thread's stack takes 8 MiB of it
    NotingRunner runner;
    try {
      const Dispatcher dispatcher(setup_of({simple_model(10)}, {0}, {.gpus = 500, .gpu_bytes = 100}), runner);
    } catch (const std::system_error&) {
      std::_Exit(7);
    }
  };
  EXPECT_EXIT(make(), testing::ExitedWithCode(7), "");
}
#endif
#endif

// Several threads submit, cancel and evict at random; every accepted request ends once or was cancelled.
TEST(Dispatcher, LosesNothingUnderManyThreads) {
  NotingRunner runner;
  ServedModel model = simple_model(10);
  model.batches.push_back({4, 2.0, {11.0}});
  Dispatcher dispatcher(setup_of({model}, std::vector<int>(20, 0), {.gpus = 4, .gpu_bytes = 35, .most_links = 2}),
                        runner);
  constexpr int kThreads = 3;
  constexpr int kEach = 400;
  std::atomic<std::size_t> cancelled = 0;
  std::vector<std::thread> clients;
  for (int thread = 0; thread < kThreads; ++thread) {
    clients.emplace_back([&, thread] {
      std::mt19937 random(static_cast<std::uint32_t>(thread));
      for (int i = 0; i < kEach; ++i) {
        const std::int64_t request = thread * kEach + i;
        EXPECT_TRUE(dispatcher.submit(request, static_cast<int>(random() % 20)).accepted);
        if (random() % 8 == 0) cancelled += dispatcher.cancel(request - static_cast<int>(random() % 3)) ? 1 : 0;
        if (random() % 8 == 0) dispatcher.evict(static_cast<int>(random() % 20));
        if (random() % 16 == 0) dispatcher.status();
      }
    });
  }
  for (std::thread& client : clients) client.join();
  std::set<std::int64_t> seen;
  while (seen.size() + cancelled < kThreads * kEach) {
    for (const EndedRequest& ended : dispatcher.wait_ended(milliseconds(100))) {
      EXPECT_TRUE(seen.insert(ended.request).second) << "it ended twice";
      EXPECT_EQ(ended.error, "");
    }
  }
  EXPECT_TRUE(dispatcher.wait_ended(milliseconds(1)).empty());
}

}  // namespace
}  // namespace deepplan
