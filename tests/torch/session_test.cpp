#include "torch/session.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "session_fixture.h"

namespace deepplan {
namespace {

TEST_F(SessionTest, EqualsTorchColdAndWarmUnderEveryPlan) {
  for (const ExecutionPlan& plan :
       {each, load_each({0, 0, 0, 0}, {0}), load_each({-1, 0, -1, 1}, {1, 2}), load_each({-1, -1, -1, -1}, {})}) {
    const Model model = make(plan);
    for (int i = 0; i < 3; ++i) {
      model.session->evict(/*poison=*/true);
      EXPECT_FALSE(model.session->is_resident());
      EXPECT_TRUE(model(x).equal(model.expected));
      EXPECT_TRUE(model.session->is_resident());
      EXPECT_TRUE(model(x).equal(model.expected));
    }
  }
}

TEST_F(SessionTest, AnswersAsItRuns) {
  const Model model = make(each);
  for (int i = 0; i < 2; ++i) {
    model.session->evict(/*poison=*/true);
    const std::vector<c10::IValue> cold = model.session->answer({x});
    EXPECT_TRUE(model.session->last_was_cold());
    ASSERT_EQ(cold.size(), 1u);
    EXPECT_TRUE(cold[0].toTensor().is_cpu());
    EXPECT_TRUE(cold[0].toTensor().equal(model.expected));
    EXPECT_TRUE(model.session->answer({x})[0].toTensor().equal(model.expected));
    EXPECT_FALSE(model.session->last_was_cold());
  }
}

TEST_F(SessionTest, ADroppedWaitIsSeen) {
  use_slow_link();
  const Model model = make(load_each({0, 1, 2, 3}, {0, 0, 0, 0}));
  model(x);
  for (int group = 0; group < kLayers; ++group) {
    model.session->evict(/*poison=*/true);
    model.session->drop_wait(group);
    EXPECT_FALSE(model(x).equal(model.expected)) << "group " << group;
    model.session->drop_wait(-1);
    model.session->evict(/*poison=*/true);
    EXPECT_TRUE(model(x).equal(model.expected)) << "group " << group;
  }
}

TEST_F(SessionTest, ModelsTakeTurnsInABudget) {
  Model first = make(each, "first");
  Model second = make(each, "second");
  target->pool.set_budget(std::size_t{2} << 20);  // one segment
  const std::size_t bytes = first.session->layout().loaded_bytes;
  Graph large = chain_of_linears(1);
  large.storage_bytes[0] = (std::size_t{2} << 20) - bytes;
  const auto filler = std::make_shared<const Program>(std::move(large), at::kCPU);
  Session third("filler", filler, links, arena, load_each({0}, {0}), /*promote=*/true);
  EXPECT_TRUE(first(x).equal(first.expected));
  EXPECT_TRUE(second(x).equal(second.expected));
  EXPECT_TRUE(first.session->is_resident());
  third.run({x});
  EXPECT_FALSE(first.session->is_resident());
  EXPECT_TRUE(first(x).equal(first.expected));
  EXPECT_TRUE(second(x).equal(second.expected));
  EXPECT_FALSE(third.is_resident());
}

TEST_F(SessionTest, AModelThatDoesNotFitIsRefusedAndLeavesNothing) {
  const Model model = make(each);
  target->pool.set_budget(1024);
  EXPECT_THROW(model(x), OutOfMemory);
  EXPECT_FALSE(model.session->is_resident());
  EXPECT_EQ(target->pool.stats().used_bytes, 0);
  target->pool.set_budget(0);
  EXPECT_TRUE(model(x).equal(model.expected));
}

TEST_F(SessionTest, PinnedMemoryThatDoesNotSufficeIsRefusedAndLeavesNothing) {
  arena.set_limit(std::size_t{1} << 20);
  const PinnedBlock most = arena.allocate((std::size_t{1} << 20) - 1024);
  const std::size_t used = arena.stats().used_bytes;
  EXPECT_THROW(make(each), OutOfMemory);
  EXPECT_EQ(arena.stats().used_bytes, used);
}

TEST_F(SessionTest, RefusesAPlanThatDoesNotFit) {
  EXPECT_THROW(make(load_each({0, 1, 2}, {0, 0, 0})), InvalidArgument);
  EXPECT_THROW(make(load_each({0, 1, 2, 3}, {0, 1, 2, 3})), InvalidArgument);
  EXPECT_EQ(arena.stats().used_bytes, 0);
}

TEST_F(SessionTest, RefusesInputsOfAnotherSignature) {
  const Model model = make(each);
  EXPECT_THROW(model.session->run({}), InvalidArgument);
  EXPECT_THROW(model.session->run({x, x}), InvalidArgument);
  EXPECT_THROW(model(at::ones({3, kFeatures})), InvalidArgument);
  EXPECT_THROW(model(x.to(at::kDouble)), InvalidArgument);
  EXPECT_THROW(model(x.to_sparse()), InvalidArgument);
  EXPECT_FALSE(model.session->is_resident());
  EXPECT_TRUE(model(x).equal(model.expected));
}

TEST_F(SessionTest, AFailingOperatorLeavesNothingHalfLoaded) {
  Graph graph = chain_of_linears(kLayers);
  graph.steps.back() = step("aten::view", "", {slot(7), list({integer(3)})}, {8}, {7});
  Session session("failing", std::make_shared<const Program>(std::move(graph), at::kCPU), links, arena, each,
                  /*promote=*/true);
  for (int i = 0; i < 2; ++i) {
    try {
      session.run({x});
      FAIL() << "the view cannot be";
    } catch (const Error& error) {
      EXPECT_NE(error.message().find("invalid for input of size 16"), std::string::npos) << error.message();
    }
    EXPECT_FALSE(session.is_resident());
    EXPECT_EQ(target->pool.stats().used_bytes, 0);
  }
}

TEST_F(SessionTest, ActivationsThatDoNotFitAreTooLittleMemory) {
  Graph graph = chain_of_linears(kLayers);
  const int64_t many = int64_t{1} << 22;
  graph.steps.back() = step("aten::repeat", "", {slot(7), list({integer(many), integer(many)})}, {8}, {7});
  Session session("huge", std::make_shared<const Program>(std::move(graph), at::kCPU), links, arena, each,
                  /*promote=*/true);
  EXPECT_THROW(session.run({x}), OutOfMemory);
  EXPECT_FALSE(session.is_resident());
}

TEST_F(SessionTest, TimesColdAndWarmRuns) {
  use_slow_link();
  const Model model = make(load_each({0, 1, 2, 3}, {0, 0, 0, 0}));
  EXPECT_FALSE(model.session->last_times());
  model.session->set_timed(true);
  EXPECT_FALSE(model.session->last_times());
  model(x);
  const RunTimes cold = model.session->last_times().value();
  EXPECT_TRUE(cold.cold);
  ASSERT_EQ(cold.layers.size(), kLayers);
  ASSERT_EQ(cold.groups.size(), kLayers);
  double arrived_ms = 0;
  for (int i = 0; i < kLayers; ++i) {
    EXPECT_GT(cold.groups[i].end_ms - cold.groups[i].start_ms, 5);
    // A layer starts once its own group is there; the clocks themselves may be a little late.
    EXPECT_GT(cold.layers[i].start_ms, cold.groups[i].end_ms - 2);
    EXPECT_GE(cold.groups[i].start_ms, arrived_ms);
    EXPECT_LE(cold.layers[i].start_ms, cold.layers[i].end_ms);
    arrived_ms = cold.groups[i].end_ms - 2;
  }
  EXPECT_EQ(cold.total_ms, cold.layers.back().end_ms);
  model(x);
  const RunTimes warm = model.session->last_times().value();
  EXPECT_FALSE(warm.cold);
  EXPECT_TRUE(warm.groups.empty());
  model.session->set_timed(false);
  EXPECT_FALSE(model.session->last_times());
}

TEST_F(SessionTest, ARunThatFailsHasNoTimes) {
  const Model model = make(each);
  model.session->set_timed(true);
  model(x);
  model.session->evict(false);
  target->pool.set_budget(1024);
  EXPECT_THROW(model(x), OutOfMemory);
  EXPECT_FALSE(model.session->last_times());
}

TEST_F(SessionTest, GivesEverythingBack) {
  {
    const Model model = make(each);
    model(x);
    EXPECT_GT(arena.stats().used_bytes, 0);
    EXPECT_GT(target->pool.stats().used_bytes, 0);
  }
  EXPECT_EQ(arena.stats().used_bytes, 0);
  EXPECT_EQ(target->pool.stats().used_bytes, 0);
}

TEST_F(SessionTest, CapturesOnlyAResidentModel) {
  const Model model = make(each);
  EXPECT_THROW(model.session->capture({.cold = true}, false), InvalidArgument);
  EXPECT_THROW(model.session->adopt({.cold = true}, nullptr, nullptr), InvalidArgument);
  EXPECT_TRUE(model(x).equal(model.expected));
  EXPECT_FALSE(model.session->last_was_captured());
}

}  // namespace
}  // namespace deepplan
