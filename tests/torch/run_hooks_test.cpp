#include "torch/run_hooks.h"

#include <gtest/gtest.h>

#include "core/every_backend.h"

namespace deepplan {
namespace {

struct RunHooksTest : EveryBackend {};

TEST_P(RunHooksTest, ALayerStartsWhereTheLastOneEndedUnlessItWaited) {
  use_slow_links();
  const auto device = open();
  const auto stream = device->create_stream();
  const std::size_t bytes = std::size_t{1} << 20;
  const PinnedBlock source = process_arena().allocate(bytes);
  const auto landing = device->allocate(bytes);
  LayerClock clock(*device, 3);
  clock.begin(*stream);
  WarmHook hook(*stream, &clock);
  hook.before_layer(0);
  device->copy_from_host(landing->data(), source.data(), bytes, *stream);
  hook.after_layer(0);
  hook.after_layer(1);
  device->copy_from_host(landing->data(), source.data(), bytes, *stream);
  clock.start_layer(2, *stream);
  hook.after_layer(2);

  const std::vector<LayerTimes> times = clock.times_ms();
  ASSERT_EQ(times.size(), 3);
  EXPECT_EQ(times[0].start_ms, 0);
  EXPECT_GT(times[0].end_ms, 0);
  EXPECT_EQ(times[1].start_ms, times[0].end_ms);
  EXPECT_GT(times[2].start_ms, times[1].end_ms);
  EXPECT_GE(times[2].end_ms, times[2].start_ms);

  clock.begin(*stream);  // the waits of an earlier run are forgotten
  for (int layer = 0; layer < 3; ++layer) hook.after_layer(layer);
  const std::vector<LayerTimes> again = clock.times_ms();
  EXPECT_EQ(again[2].start_ms, again[1].end_ms);
}

TEST_P(RunHooksTest, AHookWithoutAClockRecordsNothing) {
  const auto device = open();
  const auto stream = device->create_stream();
  WarmHook hook(*stream, nullptr);
  hook.before_layer(0);
  hook.after_layer(0);
  stream->synchronize();
}

TEST_P(RunHooksTest, ACaptureWaitsOnceForEachGroupInTheirOrder) {
  const auto device = open();
  const auto stream = device->create_stream();
  const auto mark = device->create_event();
  LayerClock clock(*device, 6);
  clock.begin(*stream);
  const ExecutionPlan plan{.placement = {}, .group = {-1, 0, 0, 1, -1, 2}, .route = {}};
  CaptureHook hook(*stream, &clock, plan, *mark);
  for (int layer = 0; layer < 6; ++layer) {
    hook.before_layer(layer);
    hook.after_layer(layer);
  }
  EXPECT_EQ(hook.waits(), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(clock.waited(), (std::vector<bool>{false, true, false, true, false, true}));
}

INSTANTIATE_TEST_SUITE_P(, RunHooksTest, every_backend(), backend_name);

}  // namespace
}  // namespace deepplan
