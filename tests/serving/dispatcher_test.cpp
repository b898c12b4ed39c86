#include "serving/dispatcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <stdexcept>

#include "core/error.h"
#include "serving/noting_runner.h"

namespace deepplan {
namespace {

using std::chrono::milliseconds;
using testing_setups::NotingRunner;
using testing_setups::setup_of;
using testing_setups::simple_model;
using testing_setups::two_instances;
using testing_setups::wait_for;

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

TEST(Dispatcher, SaysForHowLongAJobIsOverdue) {
  NotingRunner runner;
  Dispatcher dispatcher(setup_of({simple_model(10)}, {0}, {.gpus = 2, .gpu_bytes = 100}), runner);
  const auto idle = std::vector<double>{0, 0};
  EXPECT_EQ(dispatcher.status().overdue_ms, idle);
  runner.hold(true);
  const auto begin = std::chrono::steady_clock::now();
  const int gpu = dispatcher.submit(1, 0).gpu;
  runner.wait_for_jobs(1);
  const double predicted_ms = runner.jobs()[0].predicted_ms;
  while (dispatcher.status().overdue_ms[gpu] < 5) std::this_thread::sleep_for(milliseconds(1));
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(taken.count(), 100 * predicted_ms + 5);
  EXPECT_EQ(dispatcher.status().overdue_ms[1 - gpu], 0);
  runner.hold(false);
  wait_for(dispatcher, 1);
  EXPECT_EQ(dispatcher.status().overdue_ms, idle);
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
