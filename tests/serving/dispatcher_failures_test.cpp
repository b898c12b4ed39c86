// What becomes of requests whose runs fail, and of a dispatcher that gets no threads.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdlib>
#include <system_error>

#include "core/error.h"
#include "serving/dispatcher.h"
#include "serving/noting_runner.h"

namespace deepplan {
namespace {

using std::chrono::milliseconds;
using testing_setups::NotingRunner;
using testing_setups::setup_of;
using testing_setups::simple_model;
using testing_setups::two_instances;
using testing_setups::wait_for;

TEST(DispatcherFailures, AFailureIsItsOwnRequestsAlone) {
  NotingRunner runner;
  runner.fail(0);
  Dispatcher dispatcher(two_instances(), runner);
  dispatcher.submit(1, 0);
  dispatcher.submit(2, 1);
  for (const EndedRequest& ended : wait_for(dispatcher, 2)) {
    EXPECT_EQ(ended.error, ended.request == 1 ? "it failed" : "");
  }
}

TEST(DispatcherFailures, ABadCallDoesNotFailThoseItRunsWith) {
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

TEST(DispatcherFailures, WhatTheNextRequestBroughtInStays) {
  struct FailsFirst : JobRunner {
    bool run(const DispatchedJob& job) override {
      if (job.requests[0] == 1) {
        while (!both_are_queued) std::this_thread::yield();
        throw InvalidArgument("it failed");
      }
      return !is_there.exchange(true);
    }
    void evict(int, int) override {
      ++evictions;
      is_there = false;
    }
    std::atomic<bool> both_are_queued = false, is_there = false;
    std::atomic<int> evictions = 0;
  } runner;
  Dispatcher dispatcher(two_instances(), runner);
  dispatcher.submit(1, 0);
  dispatcher.submit(2, 0);
  runner.both_are_queued = true;
  for (const EndedRequest& ended : wait_for(dispatcher, 2)) EXPECT_EQ(ended.error.empty(), ended.request == 2);
  dispatcher.submit(3, 0);
  EXPECT_FALSE(wait_for(dispatcher, 1)[0].cold);
  EXPECT_EQ(runner.evictions, 0);
}

TEST(DispatcherFailures, NothingIsTriedAgainOnADeviceThatFailed) {
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

TEST(DispatcherFailures, WhatFailedToComeInIsNotThere) {
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

#ifndef __SANITIZE_THREAD__
#ifndef __SANITIZE_ADDRESS__  // both need address space themselves
TEST(DispatcherFailures, ThrowsWhereThereAreNoThreads) {
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

}  // namespace
}  // namespace deepplan
