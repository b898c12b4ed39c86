// Small schedules, computed by hand.
#include "serving/scheduler.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "serving/small_setups.h"

namespace deepplan {
namespace {

using testing_setups::numbers;
using testing_setups::setup_of;
using testing_setups::simple_model;

TEST(Scheduler, AColdStartIsFollowedByWarmRunsInTheOrderOfArrival) {
  Scheduler scheduler(setup_of({simple_model(10)}, {0, 0}, {.gpus = 1, .gpu_bytes = 100}));
  EXPECT_EQ(scheduler.submit(7, 0, 0).predicted_end_ms, 10);
  const auto first = scheduler.start(0, 0);
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->cold);
  EXPECT_EQ(first->predicted_ms, 10);
  EXPECT_EQ(numbers(first->links), std::vector<int>{0});
  EXPECT_EQ(scheduler.submit(8, 1, 1).predicted_end_ms, 20);
  EXPECT_EQ(scheduler.submit(9, 0, 2).predicted_end_ms, 21);
  EXPECT_FALSE(scheduler.start(0, 2)) << "the GPU is busy";
  EXPECT_EQ(numbers(scheduler.finish(0, 10)), std::vector<int>{0});
  const auto second = scheduler.start(0, 10);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->requests[0], 8);
  EXPECT_TRUE(second->cold);
  scheduler.finish(0, 20);
  const auto third = scheduler.start(0, 20);
  ASSERT_TRUE(third);
  EXPECT_EQ(third->requests[0], 9);
  EXPECT_FALSE(third->cold);
  EXPECT_EQ(third->predicted_ms, 1);
  EXPECT_TRUE(third->links.empty());
  scheduler.finish(0, 21);
  EXPECT_FALSE(scheduler.start(0, 21)) << "nothing is queued";
  EXPECT_EQ(scheduler.counters().cold_starts, 2u);
  EXPECT_EQ(scheduler.counters().accepted, 3u);
}

// Runs one request alone, from `now_ms` on, and returns what was evicted for it.
std::vector<int> run_alone(Scheduler& scheduler, int instance, double now_ms) {
  const int gpu = scheduler.submit(0, instance, now_ms).gpu;
  const auto job = scheduler.start(gpu, now_ms);
  const std::vector<int> evicted = numbers(job->evicted);
  scheduler.finish(gpu, now_ms + job->predicted_ms);
  return evicted;
}

TEST(Scheduler, ColdStartsTakeLongerWhileOthersOfTheHostLoad) {
  const ServedModel model{10, {{1, 1.0, {10.0}, {{11.0}, {14.0}}}}};
  const SchedulerOptions options{.gpus = 8, .gpu_bytes = 10, .gpus_per_host = 4};
  Scheduler scheduler(setup_of({model}, std::vector<int>(9, 0), options));
  // GPUs 0 to 3 are of one host, 4 to 7 of another; three and more others cost what two do.
  const std::vector<double> expected_ms{10, 11, 14, 14, 10, 11, 14, 14};
  for (int gpu = 0; gpu < 8; ++gpu) {
    const Admission admission = scheduler.submit(gpu, gpu, 0);
    EXPECT_EQ(admission.gpu, gpu);
    EXPECT_EQ(admission.predicted_end_ms, expected_ms[gpu]);
    EXPECT_EQ(scheduler.start(gpu, 0)->predicted_ms, expected_ms[gpu]);
  }
  EXPECT_EQ(scheduler.submit(8, 8, 1).predicted_end_ms, 24) << "who waits may be one of many";
  for (int gpu : {4, 5, 1, 2}) scheduler.finish(gpu, 8);
  scheduler.finish(0, 9);
  EXPECT_EQ(scheduler.start(0, 9)->predicted_ms, 11) << "one other is left";
}

TEST(Scheduler, EvictsTheLeastRecentlyUsedAndOnlyAsManyAsItMust) {
  Scheduler scheduler(setup_of({simple_model(40), simple_model(60)}, {0, 0, 0, 1}, {.gpus = 1, .gpu_bytes = 100}));
  EXPECT_EQ(run_alone(scheduler, 0, 0), std::vector<int>{});
  EXPECT_EQ(run_alone(scheduler, 1, 100), std::vector<int>{});
  EXPECT_EQ(run_alone(scheduler, 0, 200), std::vector<int>{});
  EXPECT_EQ(run_alone(scheduler, 2, 300), std::vector<int>{1});
  EXPECT_EQ(scheduler.resident_bytes(0), 80u);
  EXPECT_EQ(run_alone(scheduler, 3, 400), std::vector<int>{0});
  EXPECT_EQ(scheduler.resident_bytes(0), 100u);
  EXPECT_EQ(run_alone(scheduler, 0, 500), std::vector<int>{2});
  EXPECT_EQ(run_alone(scheduler, 1, 600), std::vector<int>{3});
  EXPECT_EQ(scheduler.counters().evictions, 4u);
}

TEST(Scheduler, PinnedInstancesHaveRoomFromTheStartAndStayOnceTheyCame) {
  SchedulerOptions options{.gpus = 1, .gpu_bytes = 100, .pinned = {true, false, false}};
  Scheduler scheduler(setup_of({simple_model(50)}, {0, 0, 0}, options));
  EXPECT_EQ(scheduler.resident_bytes(0), 0u);
  EXPECT_EQ(scheduler.gpu_of(0), ResidencyLedger::kNowhere);
  EXPECT_EQ(run_alone(scheduler, 1, 0), std::vector<int>{});
  EXPECT_EQ(run_alone(scheduler, 2, 100), std::vector<int>{1});
  EXPECT_EQ(run_alone(scheduler, 0, 200), std::vector<int>{}) << "2 had not taken its room";
  EXPECT_EQ(scheduler.resident_bytes(0), 100u);
  EXPECT_EQ(run_alone(scheduler, 1, 300), std::vector<int>{2});
  EXPECT_EQ(scheduler.submit(0, 0, 400).predicted_end_ms, 401);
  EXPECT_EQ(scheduler.counters().cold_starts, 4u);
}

TEST(Scheduler, WhatRequestsAreQueuedForIsEvictedLast) {
  Scheduler scheduler(setup_of({simple_model(50)}, {0, 0, 0}, {.gpus = 1, .gpu_bytes = 100}));
  run_alone(scheduler, 0, 0);
  run_alone(scheduler, 1, 20);
  scheduler.submit(1, 1, 40);
  ASSERT_TRUE(scheduler.start(0, 40));
  scheduler.submit(2, 0, 40);
  scheduler.submit(3, 2, 40);
  scheduler.finish(0, 41);
  EXPECT_FALSE(scheduler.start(0, 41)->cold);
  scheduler.finish(0, 42);
  EXPECT_EQ(numbers(scheduler.start(0, 42)->evicted), std::vector<int>{1});
}

TEST(Scheduler, RequestsOfOneInstanceAreBatchedAndPaddedToAPlannedSize) {
  ServedModel model{10, {{1, 2.0, {20.0}}, {4, 3.0, {21.0}}}};
  Scheduler scheduler(setup_of({model}, {0, 0}, {.gpus = 1, .gpu_bytes = 100}));
  scheduler.submit(0, 1, 0);
  ASSERT_TRUE(scheduler.start(0, 0));
  for (int request : {1, 2, 3}) scheduler.submit(request, request == 2 ? 1 : 0, 0);
  scheduler.submit(4, 0, 0);
  scheduler.finish(0, 20);
  const auto cold = scheduler.start(0, 20);
  ASSERT_TRUE(cold);
  EXPECT_EQ(std::vector<std::int64_t>(cold->requests.begin(), cold->requests.end()),
            (std::vector<std::int64_t>{1, 3, 4}));
  EXPECT_EQ(cold->batch_size, 4);
  EXPECT_EQ(cold->predicted_ms, 21);
  scheduler.finish(0, 41);
  const auto warm = scheduler.start(0, 41);
  ASSERT_TRUE(warm);
  EXPECT_EQ(warm->batch_size, 1) << "a batch of one planned for four would be slower";
  EXPECT_EQ(warm->requests[0], 2);
}

TEST(Scheduler, ABatchIsOnlyAsLargeAsThoseItOvertakesCanBear) {
  ServedModel model{10, {{1, 2.0, {2.0}}, {2, 3.0, {3.0}}, {8, 9.0, {9.0}}}};
  for (const auto& [objective_ms, expected] : {std::pair{11.0, 2}, std::pair{17.0, 5}}) {
    SchedulerOptions options{.gpus = 1, .gpu_bytes = 100, .objective_ms = objective_ms, .pinned = {true, true}};
    Scheduler scheduler(setup_of({model}, {0, 0}, options));
    scheduler.submit(0, 1, 0);
    ASSERT_TRUE(scheduler.start(0, 0));  // until 2
    scheduler.submit(1, 0, 0);           // until 4
    scheduler.submit(2, 1, 0);           // until 6
    for (int request : {3, 4, 5, 6}) scheduler.submit(request, 0, 2);
    scheduler.finish(0, 2);
    // With 11 the last two are refused and eight would end past the oldest's deadline; request 2 can bear two.
    EXPECT_EQ(std::ssize(scheduler.start(0, 2)->requests), expected) << objective_ms;
  }
}

TEST(Scheduler, ARefusedRequestIsAcceptedAfterTheTimeItWasTold) {
  SchedulerOptions options{.gpus = 1, .gpu_bytes = 100, .objective_ms = 10};
  Scheduler scheduler(setup_of({{10, {{1, 4.0, {8.0}}}}}, {0}, options));
  run_alone(scheduler, 0, -8);
  EXPECT_EQ(scheduler.submit(0, 0, 0).predicted_end_ms, 4);
  ASSERT_TRUE(scheduler.start(0, 0));
  EXPECT_TRUE(scheduler.submit(1, 0, 0).accepted);
  const Admission refused = scheduler.submit(2, 0, 0);
  EXPECT_FALSE(refused.accepted);
  EXPECT_EQ(refused.predicted_end_ms, 12);
  EXPECT_EQ(refused.retry_after_ms, 2);
  EXPECT_FALSE(scheduler.submit(3, 0, 1.5).accepted);
  EXPECT_TRUE(scheduler.submit(4, 0, 2).accepted);
  EXPECT_EQ(scheduler.counters().refused, 2u);
}

TEST(Scheduler, WhatTakesLongerThanTheObjectiveByItselfNeedNotBeRetried) {
  Scheduler scheduler(setup_of({{10, {{1, 4.0, {8.0}}}}}, {0}, {.gpus = 1, .gpu_bytes = 100, .objective_ms = 5}));
  EXPECT_EQ(scheduler.submit(0, 0, 0).retry_after_ms, std::numeric_limits<double>::infinity());
}

TEST(Scheduler, SlowJobsLeaveRoomForFewerRequests) {
  const auto accepted = [](double slowdown) {
    Scheduler scheduler(setup_of({simple_model(10)}, {0}, {.gpus = 1, .gpu_bytes = 100, .objective_ms = 20}));
    scheduler.set_slowdown(slowdown);
    int count = 0;
    for (int request = 0; request < 30; ++request) {
      if (!scheduler.submit(request, 0, 0).accepted) continue;
      scheduler.start(0, 0);
      ++count;
    }
    return count;
  };
  EXPECT_EQ(accepted(1), 11);   // cold in 10 ms, then a run each ms
  EXPECT_EQ(accepted(1.5), 4);  // 20 ms are 13.3 of them
  EXPECT_EQ(accepted(100), 1);  // an idle GPU is tried
}

TEST(Scheduler, AColdInstanceGoesToTheGpuThatIsFreeFirst) {
  Scheduler scheduler(setup_of({simple_model(10)}, {0, 0, 0, 0}, {.gpus = 2, .gpu_bytes = 100}));
  EXPECT_EQ(scheduler.submit(0, 0, 0).gpu, 0);
  ASSERT_TRUE(scheduler.start(0, 0));
  EXPECT_EQ(scheduler.submit(1, 1, 1).gpu, 1);
  ASSERT_TRUE(scheduler.start(1, 1));
  EXPECT_EQ(scheduler.submit(2, 2, 2).gpu, 0);
  EXPECT_EQ(scheduler.submit(3, 0, 3).gpu, 0) << "where it is resident";
  EXPECT_EQ(scheduler.submit(4, 3, 3).gpu, 1);
  EXPECT_EQ(scheduler.submit(5, 2, 3).gpu, 0) << "where it is queued to be resident";
}

TEST(Scheduler, LinksAreLeasedToOneColdStartAtATime) {
  const ServedModel model{10, {{1, 1.0, {12.0, 8.0, 6.0}}}};
  Scheduler scheduler(setup_of({model}, {0, 0, 0, 0}, {.gpus = 4, .gpu_bytes = 100, .most_links = 2}));
  EXPECT_EQ(scheduler.submit(0, 0, 0).predicted_end_ms, 8);
  EXPECT_EQ(numbers(scheduler.start(0, 0)->links), (std::vector<int>{0, 1}));
  EXPECT_EQ(scheduler.submit(1, 1, 1).gpu, 2) << "1 has lent its link";
  EXPECT_EQ(numbers(scheduler.start(2, 1)->links), (std::vector<int>{2, 3}));
  const Admission waits = scheduler.submit(2, 2, 2);
  EXPECT_EQ(waits.gpu, 0);
  EXPECT_EQ(scheduler.submit(3, 3, 2).gpu, 1);
  EXPECT_FALSE(scheduler.start(1, 2)) << "its own link is lent";
  EXPECT_EQ(numbers(scheduler.finish(0, 8)), (std::vector<int>{0, 1}));
  EXPECT_EQ(numbers(scheduler.start(0, 8)->links), std::vector<int>{0}) << "1 needs its own";
  const auto second = scheduler.start(1, 8);
  ASSERT_TRUE(second);
  EXPECT_EQ(numbers(second->links), std::vector<int>{1});
  EXPECT_EQ(second->predicted_ms, 12);
}

TEST(Scheduler, RefusesSetupsThatCannotBeServed) {
  const auto refused = [](const ServingSetup& setup) { EXPECT_THROW(Scheduler{setup}, InvalidArgument); };
  refused(setup_of({simple_model(101)}, {0}, {.gpus = 1, .gpu_bytes = 100}));
  refused(setup_of({simple_model(60)}, {0, 0}, {.gpus = 1, .gpu_bytes = 100, .pinned = {true, false}}));
  refused(setup_of({simple_model(60)}, {0, 0}, {.gpus = 1, .gpu_bytes = 100, .pinned = {true, true}}));
  refused(setup_of({simple_model(60)}, {0}, {.gpus = 1, .gpu_bytes = 100, .pinned = {true, true}}));
  refused(setup_of({simple_model(60)}, {1}, {.gpus = 1, .gpu_bytes = 100}));
  refused(setup_of({simple_model(60)}, {0}, {.gpus = 0, .gpu_bytes = 100}));
  refused(setup_of({simple_model(60)}, {0}, {.gpus = 1, .gpu_bytes = 100, .objective_ms = 0}));
  refused(setup_of({simple_model(60)}, {0}, {.gpus = 1, .gpu_bytes = 100, .most_links = 0}));
  refused(setup_of({{10, {}}}, {0}, {.gpus = 1, .gpu_bytes = 100}));
  refused(setup_of({{10, {{2, 1.0, {1.0}}}}}, {0}, {.gpus = 1, .gpu_bytes = 100}));
  refused(setup_of({{10, {{1, 1.0, {1.0}}, {1, 1.0, {1.0}}}}}, {0}, {.gpus = 1, .gpu_bytes = 100}));
  refused(setup_of({{10, {{1, 1.0, {}}}}}, {0}, {.gpus = 1, .gpu_bytes = 100}));
  refused(setup_of({{10, {{1, -1.0, {1.0}}}}}, {0}, {.gpus = 1, .gpu_bytes = 100}));
  for (const std::vector<double>& crowded_ms : {std::vector<double>{}, {0.5}, {1.0, 1.0}, {NAN}}) {
    refused(setup_of({{10, {{1, 1.0, {1.0}, {crowded_ms}}}}}, {0}, {.gpus = 1, .gpu_bytes = 100}));
  }
  refused(setup_of({simple_model(60)}, {0}, {.gpus = 4, .gpu_bytes = 100, .gpus_per_host = 0}));
  refused(setup_of({simple_model(60)}, {0}, {.gpus = 8, .gpu_bytes = 100, .most_links = 2, .gpus_per_host = 3}));
}

TEST(Scheduler, RefusesCallsThatCannotBeMeant) {
  Scheduler scheduler(setup_of({simple_model(10)}, {0}, {.gpus = 1, .gpu_bytes = 100}));
  EXPECT_THROW(scheduler.submit(0, 1, 0), InvalidArgument);
  EXPECT_THROW(scheduler.submit(0, -1, 0), InvalidArgument);
  EXPECT_THROW(scheduler.finish(0, 0), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
