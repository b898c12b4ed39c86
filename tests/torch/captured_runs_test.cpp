#include "torch/captured_runs.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "small_graphs.h"

namespace deepplan {
namespace {

constexpr RunKind kCold{.cold = true, .timed = false}, kWarm{.cold = false, .timed = false};

// Counts how many of it live.
struct CountedGraph : LaunchGraph {
  CountedGraph(int& count, bool moves) : alive(count), can_move(moves) { ++alive; }
  ~CountedGraph() override { --alive; }
  int part_count() const override { return 1; }
  void launch(int, Stream&) override {}
  std::size_t span_count() const override { return can_move ? 1 : 0; }
  void move_to(const std::vector<const char*>&) override {}
  int& alive;
  bool can_move;
};

struct CapturedRunsTest : testing::Test {
  DevicePool pool{open_device({Backend::Host, 0})};
  DeviceBlock block = pool.allocate(1024);
  DeviceBlock other = pool.allocate(1024);
  int alive = 0;
  CapturedRuns runs;

  void capture(RunKind kind, const DeviceBlock& at, bool moves = false) {
    runs.begin(kind, at.data(), pool, {});
    EXPECT_EQ(runs.begun_at(), at.data());
    runs.adopt(kind, graph(moves));
  }
  std::unique_ptr<LaunchGraph> graph(bool moves = false) { return std::make_unique<CountedGraph>(alive, moves); }
};

TEST_F(CapturedRunsTest, AreFoundWhereTheyWereCaptured) {
  EXPECT_EQ(runs.home(), nullptr);
  EXPECT_EQ(runs.find(kCold, block.data(), pool), nullptr);
  capture(kCold, block);
  capture(kWarm, block);
  EXPECT_EQ(runs.home(), block.data());
  EXPECT_NE(runs.find(kCold, block.data(), pool), nullptr);
  EXPECT_NE(runs.find(kWarm, block.data(), pool), nullptr);
  EXPECT_EQ(runs.find({.cold = true, .timed = true}, block.data(), pool), nullptr);
  EXPECT_EQ(runs.find(kCold, other.data(), pool), nullptr);
}

TEST_F(CapturedRunsTest, AreFoundEverywhereIfTheyCanMove) {
  capture(kCold, block, /*moves=*/true);
  EXPECT_NE(runs.find(kCold, other.data(), pool), nullptr);
  EXPECT_EQ(runs.home(), block.data());  // where coming back costs nothing
  runs.leave_home();
  EXPECT_EQ(runs.home(), nullptr);
  EXPECT_NE(runs.find(kCold, other.data(), pool), nullptr);
  block = DeviceBlock();
  other = DeviceBlock();
  pool.trim();
  EXPECT_EQ(pool.stats().reserved_bytes, 0);  // nothing is kept for them
}

TEST_F(CapturedRunsTest, DoNotLeaveHomeIfOneCannotMove) {
  capture(kCold, block, /*moves=*/true);
  capture(kWarm, block);
  EXPECT_THROW(runs.leave_home(), InvalidArgument);
  EXPECT_EQ(runs.home(), block.data());
}

TEST_F(CapturedRunsTest, DestroyNothingBeforeTheCaptureHasEnded) {
  capture(kCold, block);
  capture(kWarm, block);
  runs.begin(kCold, other.data(), pool, {});
  EXPECT_EQ(alive, 2);
  EXPECT_NE(runs.find(kWarm, block.data(), pool), nullptr);
  runs.adopt(kCold, graph());
  EXPECT_EQ(alive, 1);  // the warm run's weights will not be where it was captured
  EXPECT_EQ(runs.find(kWarm, other.data(), pool), nullptr);
  EXPECT_NE(runs.find(kCold, other.data(), pool), nullptr);
}

TEST_F(CapturedRunsTest, BelongToMemoryAndNotToItsAddress) {
  capture(kCold, block);
  char* const address = block.data();
  block = DeviceBlock();
  other = DeviceBlock();
  pool.trim();
  EXPECT_NE(pool.hold(address), nullptr);  // kept for the captured run
  pool.trim(/*even_held=*/true);
  block = pool.allocate(1024);
  EXPECT_EQ(runs.find(kCold, block.data(), pool), nullptr);
}

TEST_F(CapturedRunsTest, AreAdoptedAfterTheyWereBegun) {
  EXPECT_THROW(runs.adopt(kCold, nullptr), InvalidArgument);
  runs.begin(kCold, block.data(), pool, {});
  EXPECT_THROW(runs.adopt(kWarm, nullptr), InvalidArgument);
  EXPECT_EQ(runs.find(kCold, block.data(), pool), nullptr);
}

TEST_F(CapturedRunsTest, HaveAPartForEachWaitAndOneMore) {
  runs.begin(kCold, block.data(), pool, {.graph = nullptr, .waits = {0}, .outputs = {}, .layers_that_waited = {}});
  EXPECT_THROW(runs.adopt(kCold, graph()), InvalidArgument);
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(runs.find(kCold, block.data(), pool), nullptr);
  runs.begin(kCold, block.data(), pool, {});
  EXPECT_THROW(runs.adopt(kCold, nullptr), InvalidArgument);
}

TEST_F(CapturedRunsTest, FindTheirInputsInOnePlace) {
  const Graph graph = chain_of_linears(1);
  const at::Tensor input = runs.inputs(graph, at::kCPU).at(0);
  EXPECT_EQ(input.sizes(), (std::vector<int64_t>{2, kFeatures}));
  EXPECT_EQ(runs.inputs(graph, at::kCPU).at(0).data_ptr(), input.data_ptr());
}

TEST(WithoutOwnership, KeepsWhatLiesInHostMemory) {
  const std::vector<c10::IValue> values = {at::ones({2}), c10::IValue(3), c10::IValue()};
  const std::vector<c10::IValue> views = without_ownership(values);
  EXPECT_EQ(views[0].toTensor().unsafeGetTensorImpl(), values[0].toTensor().unsafeGetTensorImpl());
  EXPECT_EQ(views[1].toInt(), 3);
  EXPECT_TRUE(views[2].isNone());
}

}  // namespace
}  // namespace deepplan
