#include "torch/session.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "core/pinned_arena.h"
#include "small_graphs.h"

namespace deepplan {
namespace {

constexpr int kLayers = 4;

struct SessionTest : testing::Test {
  PinnedArena arena{{.step_bytes = std::size_t{1} << 20}};
  std::shared_ptr<Target> target = std::make_shared<Target>(DeviceId{Backend::Host, 0});
  std::shared_ptr<SharedLinks> links = std::make_shared<SharedLinks>(
      target, std::vector{open_device({Backend::Host, 1}), open_device({Backend::Host, 2})});
  at::Tensor x = at::randn({2, kFeatures});
  const ExecutionPlan each = load_each({0, 1, 2, 3}, {0, 1, 2, 0});

  // Weights of its own for every model, and what torch makes of `x` with them.
  struct Model {
    std::unique_ptr<Session> session;
    at::Tensor expected;

    at::Tensor operator()(const at::Tensor& input) const { return session->run({input}).at(0).toTensor(); }
  };

  // One link on which a layer takes 10 ms: it is never there by luck.
  void use_slow_link() {
    set_host_devices({.link_gbps = 1e-4});
    target = std::make_shared<Target>(DeviceId{Backend::Host, 0});
    links = std::make_shared<SharedLinks>(target, std::vector<std::shared_ptr<Device>>{});
    set_host_devices({});
  }

  static std::shared_ptr<const Program> program() {
    return std::make_shared<const Program>(chain_of_linears(kLayers), at::kCPU);
  }

  Model make(const ExecutionPlan& plan, const std::string& name = "model") {
    auto session = std::make_unique<Session>(name, program(), links, arena, plan, /*promote=*/true);
    std::vector<at::Tensor> weights;
    const Graph& graph = session->program().graph();
    for (std::size_t i = 0; i < graph.weights.size(); ++i) {
      weights.push_back(at::randn(graph.weights[i].shape).abs());  // nothing is cut off by the activations
      std::memcpy(session->storage_bytes(static_cast<int>(i)).mutable_data_ptr(), weights[i].const_data_ptr(),
                  weights[i].nbytes());
    }
    return {std::move(session), chain_by_torch(x, weights)};
  }
};

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

TEST_F(SessionTest, LaysItsWeightsOutAgainForAnotherPlan) {
  const Model model = make(each);
  EXPECT_TRUE(model(x).equal(model.expected));
  const std::size_t all = model.session->layout().loaded_bytes;
  model.session->rebind(load_each({-1, 0, -1, 0}, {1}));
  EXPECT_FALSE(model.session->is_resident());
  EXPECT_EQ(model.session->layout().loaded_bytes, all / 2);
  EXPECT_TRUE(model(x).equal(model.expected));
  EXPECT_THROW(model.session->rebind(load_each({0, 1, 2, 3}, {0, 0, 0, 3})), InvalidArgument);
  EXPECT_TRUE(model(x).equal(model.expected));
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

TEST_F(SessionTest, AWarmRunReadsPromotedWeightsOnTheTarget) {
  const Model model = make(load_each({-1, 0, -1, 1}, {1, 2}));
  const WeightLayout& layout = model.session->layout();
  EXPECT_EQ(layout.resident_bytes, layout.total_bytes);
  EXPECT_TRUE(model(x).equal(model.expected));
  target->device->synchronize();
  const at::Tensor host = model.session->storage_bytes(0);
  const at::Tensor kept = host.clone();
  host.fill_(0xff);  // whoever still reads it computes NaN
  EXPECT_TRUE(model(x).equal(model.expected));
  model.session->evict(/*poison=*/false);
  EXPECT_FALSE(model(x).equal(model.expected));
  host.copy_(kept);
}

TEST_F(SessionTest, LargeTablesOfWhichRowsAreGatheredStay) {
  Graph graph = tied_table();
  graph.storage_bytes[0] = std::size_t{9} << 20;
  graph.steps.pop_back();
  graph.layers = {{"embedding", 0, 1, {0}}, {"act", 1, 2, {}}};
  graph.outputs = {slot(2)};
  const auto program = std::make_shared<const Program>(std::move(graph), at::kCPU);
  EXPECT_EQ(program->promotable_storages(), std::vector{false});
  const Session session("table", program, links, arena, load_each({-1, -1}, {}), /*promote=*/true);
  EXPECT_EQ(session.layout().resident_bytes, 0);
}

TEST_F(SessionTest, PromotesNothingUnlessAsked) {
  const Session session("model", program(), links, arena, load_each({-1, -1, -1, -1}, {}), /*promote=*/false);
  EXPECT_EQ(session.layout().resident_bytes, 0);
}

TEST_F(SessionTest, CapturesOnlyAResidentModel) {
  const Model model = make(each);
  EXPECT_THROW(model.session->capture({.cold = true}), InvalidArgument);
  EXPECT_THROW(model.session->adopt({.cold = true}, nullptr), InvalidArgument);
  EXPECT_TRUE(model(x).equal(model.expected));
  EXPECT_FALSE(model.session->last_was_captured());
}

TEST_F(SessionTest, CodesItsWeightsWithoutLoss) {
  for (const std::vector<bool>& coded : {std::vector<bool>{true, true, true, true}, {false, true, false, true}}) {
    ExecutionPlan plan = each;
    plan.coded = coded;
    const Model model = make(plan);
    EXPECT_TRUE(model(x).equal(model.expected));
    const at::Tensor plain = model.session->storage_bytes(2).clone();
    model.session->encode();
    EXPECT_FALSE(model.session->is_resident());
    for (int i = 0; i < 3; ++i) {
      model.session->evict(/*poison=*/true);
      EXPECT_TRUE(model(x).equal(model.expected));
      EXPECT_TRUE(model(x).equal(model.expected));
    }
    EXPECT_TRUE(model.session->storage_bytes(2).equal(plain));
    model.session->rebind(each);
    EXPECT_TRUE(model(x).equal(model.expected));
    EXPECT_EQ(model.session->host().crossing_bytes(), model.session->layout().loaded_bytes);
  }
}

TEST_F(SessionTest, LeavesPlainWhatIsReadInPlaceAsWell) {
  const auto program = std::make_shared<const Program>(tied_table(), at::kCPU);
  ExecutionPlan plan = load_each({-1, -1, 0}, {0});
  plan.coded = {true};
  Session session("tied", program, links, arena, plan, /*promote=*/true);
  session.storage_bytes(0).zero_();
  const at::Tensor ids = at::ones({2}, at::kLong);
  session.encode();
  EXPECT_EQ(session.host().crossing_bytes(), session.layout().loaded_bytes);
  EXPECT_EQ(session.run({ids}).size(), 1);
}

}  // namespace
}  // namespace deepplan
