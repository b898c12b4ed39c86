#include "torch/executor.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <functional>

#include "core/error.h"
#include "small_graphs.h"

namespace deepplan {
namespace {

// What `deepplan_test::watched` returned, without keeping it alive.
std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>>& watched() {
  static std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> results;
  return results;
}

at::Tensor watch(const at::Tensor& x) {
  at::Tensor result = x.clone();
  watched().emplace_back(result.getIntrusivePtr());
  return result;
}

at::Tensor fail(const at::Tensor&) { TORCH_CHECK(false, "this operator fails"); }

TORCH_LIBRARY(deepplan_test, library) {
  library.def("watched(Tensor x) -> Tensor");
  library.def("failing(Tensor x) -> Tensor");
  library.impl("watched", c10::DispatchKey::CompositeExplicitAutograd, watch);
  library.impl("failing", c10::DispatchKey::CompositeExplicitAutograd, fail);
}

struct Recorder : LayerHook {
  std::vector<std::string> calls;
  std::function<void(int)> after = [](int) {};

  void before_layer(int layer) override { calls.push_back("before " + std::to_string(layer)); }
  void after_layer(int layer) override {
    calls.push_back("after " + std::to_string(layer));
    after(layer);
  }
};

struct ExecutorTest : testing::Test {
  std::shared_ptr<Device> device = open_device({Backend::Host, 0});
  NoHook no_hook;
  at::Tensor x = at::randn({2, 3});
  at::Tensor y = at::randn({2, 3});

  void SetUp() override { watched().clear(); }

  std::vector<c10::IValue> run(Graph graph, const std::vector<at::Tensor>& inputs, LayerHook& hook) {
    const Program program(std::move(graph), at::kCPU);
    const ExecutionPlan plan = load_each(std::vector<int>(program.graph().layers.size(), -1), {});
    const WeightTable weights(program, uses_on_device(program, plan), {}, {});
    return execute(program, weights, inputs, hook, *device);
  }
  std::vector<c10::IValue> run(Graph graph, const std::vector<at::Tensor>& inputs) {
    return run(std::move(graph), inputs, no_hook);
  }
};

TEST_F(ExecutorTest, RunsStepsInOrder) {
  const auto results = run(graph_of({step("aten::add", "Tensor", {slot(0), slot(1)}, {2}),
                                     step("aten::mul", "Tensor", {slot(2), {2.0}}, {3})},
                                    {slot(3), slot(2), integer(7), {NoneArgument{}}}, 2),
                           {x, y});
  ASSERT_EQ(results.size(), 4);
  EXPECT_TRUE(results[0].toTensor().equal((x + y) * 2.0));
  EXPECT_EQ(results[0].toTensor().scalar_type(), at::kFloat);
  EXPECT_TRUE(results[1].toTensor().equal(x + y));
  EXPECT_EQ(results[2].toInt(), 7);
  EXPECT_TRUE(results[3].isNone());
}

TEST_F(ExecutorTest, CallsTheHookAroundEveryLayer) {
  Graph graph = graph_of({step("aten::relu", "", {slot(0)}, {1}), step("aten::neg", "", {slot(1)}, {2})}, {slot(2)});
  graph.layers = {{"a", 0, 1, {}}, {"b", 1, 2, {}}};
  Recorder hook;
  run(std::move(graph), {x}, hook);
  EXPECT_EQ(hook.calls, (std::vector<std::string>{"before 0", "after 0", "before 1", "after 1"}));
}

TEST_F(ExecutorTest, FreesAValueWithItsLastReader) {
  Graph graph =
      graph_of({step("deepplan_test::watched", "", {slot(0)}, {1}), step("deepplan_test::watched", "", {slot(1)}, {2}),
                step("aten::neg", "", {slot(1)}, {3}, {1}), step("aten::relu", "", {slot(3)}, {4}, {3})},
               {slot(2), slot(4)});
  graph.layers = {{"a", 0, 2, {}}, {"b", 2, 3, {}}, {"c", 3, 4, {}}};
  Recorder hook;
  std::vector<bool> first_is_gone;
  hook.after = [&](int) { first_is_gone.push_back(watched()[0].expired()); };
  const auto results = run(std::move(graph), {x}, hook);
  EXPECT_EQ(first_is_gone, (std::vector<bool>{false, true, true}));
  EXPECT_FALSE(watched()[1].expired());  // a result
}

TEST_F(ExecutorTest, DropsResultsThatNobodyReads) {
  Recorder hook;
  hook.after = [](int) { EXPECT_TRUE(watched()[0].expired()); };
  Graph graph =
      graph_of({step("deepplan_test::watched", "", {slot(0)}, {-1}), step("aten::neg", "", {slot(0)}, {1})}, {slot(1)});
  graph.layers = {{"a", 0, 1, {}}, {"b", 1, 2, {}}};
  run(std::move(graph), {x}, hook);
  EXPECT_EQ(watched().size(), 1);
}

TEST_F(ExecutorTest, StoresEveryResultOfAnOperator) {
  const auto results = run(graph_of({step("aten::max", "dim", {slot(0), integer(1)}, {-1, 2})}, {slot(2)}), {x});
  EXPECT_TRUE(results[0].toTensor().equal(std::get<1>(x.max(1))));
}

TEST_F(ExecutorTest, TakesElementsOutOfLists) {
  const Step split = step("aten::split", "Tensor", {slot(0), integer(1), integer(1)}, {1});
  const auto results = run(graph_of({split, step("deepplan::list_get", "", {slot(1), integer(2)}, {2}),
                                     step("deepplan::list_get", "", {slot(1), integer(-3)}, {3}),
                                     step("aten::cat", "", {list({slot(2), slot(3)}), integer(1)}, {4})},
                                    {slot(4)}),
                           {x});
  EXPECT_TRUE(results[0].toTensor().equal(at::cat({x.slice(1, 2, 3), x.slice(1, 0, 1)}, 1)));
  for (const int64_t beyond : {3, -4}) {
    Graph bad = graph_of({split, step("deepplan::list_get", "", {slot(1), integer(beyond)}, {2})}, {slot(2)});
    EXPECT_THROW(run(std::move(bad), {x}), InvalidArgument) << beyond;
  }
}

TEST_F(ExecutorTest, ComputesWithSizes) {
  const auto results = run(graph_of({step("aten::sym_size", "int", {slot(0), integer(1)}, {1}),
                                     step("deepplan::mul", "", {slot(1), integer(2)}, {2}),
                                     step("aten::view", "", {slot(0), list({slot(2)})}, {3})},
                                    {slot(3), slot(2)}),
                           {x});
  EXPECT_TRUE(results[0].toTensor().equal(x.view({6})));
  EXPECT_EQ(results[1].toInt(), 6);
}

Step enter_autocast(bool enabled) {
  return step("deepplan::autocast_enter", "",
              {{DeviceArgument{"target"}}, {DtypeArgument{"bfloat16"}}, {enabled}, {true}}, {});
}
Step exit_autocast() { return step("deepplan::autocast_exit", "", {}, {}); }
Step product(int from, int to) { return step("aten::mm", "", {slot(from), slot(1)}, {to}); }

TEST_F(ExecutorTest, EntersAutocastRegions) {
  const at::Tensor square = at::randn({3, 3});
  const auto results = run(graph_of({product(0, 2), enter_autocast(true), product(0, 3), enter_autocast(false),
                                     product(0, 4), exit_autocast(), product(0, 5), exit_autocast(), product(0, 6)},
                                    {slot(2), slot(3), slot(4), slot(5), slot(6)}, 2),
                           {x, square});
  std::vector<at::ScalarType> dtypes;
  for (const c10::IValue& result : results) dtypes.push_back(result.toTensor().scalar_type());
  EXPECT_EQ(dtypes, (std::vector{at::kFloat, at::kBFloat16, at::kFloat, at::kBFloat16, at::kFloat}));
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
}

// The caller's own setting, of a dtype that no region here asks for.
struct CallersAutocast {
  CallersAutocast() {
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::set_autocast_dtype(at::kCPU, at::kHalf);
  }
  ~CallersAutocast() {
    at::autocast::set_autocast_enabled(at::kCPU, false);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  }
};

TEST_F(ExecutorTest, AThrowInsideARegionLeavesTheThreadAsItWas) {
  const std::vector<Step> steps = {enter_autocast(true), enter_autocast(false),
                                   step("deepplan_test::failing", "", {slot(0)}, {2})};
  EXPECT_THROW(run(graph_of(steps, {slot(2)}), {x}), c10::Error);
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
  const CallersAutocast callers;
  EXPECT_THROW(run(graph_of(steps, {slot(2)}), {x}), c10::Error);
  EXPECT_TRUE(at::autocast::is_autocast_enabled(at::kCPU));
  EXPECT_EQ(at::autocast::get_autocast_dtype(at::kCPU), at::kHalf);
  EXPECT_EQ(x.mm(x.t()).scalar_type(), at::kHalf);
}

TEST_F(ExecutorTest, TheCallersAutocastAndGradientsStayOutside) {
  const at::Tensor square = at::randn({3, 3}).requires_grad_();
  const CallersAutocast callers;
  const auto results = run(graph_of({product(0, 2)}, {slot(2)}, 2), {x, square});
  EXPECT_EQ(results[0].toTensor().scalar_type(), at::kFloat);
  EXPECT_FALSE(results[0].toTensor().requires_grad());
  EXPECT_FALSE(results[0].toTensor().is_inference());
}

TEST_F(ExecutorTest, RefusesToLeaveARegionItIsNotIn) {
  EXPECT_THROW(run(graph_of({exit_autocast()}, {}), {x}), InvalidArgument);
}

TEST_F(ExecutorTest, AGraphOfNoStepsReturnsItsInputs) {
  Graph graph = graph_of({}, {slot(0)});
  graph.layers.clear();
  EXPECT_TRUE(run(std::move(graph), {x})[0].toTensor().equal(x));
}

}  // namespace
}  // namespace deepplan
