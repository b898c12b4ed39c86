// What the executor adds to an operator: 1,000 additions of one-element tensors as a graph, against a bare loop that
// makes the same boxed calls on stacks that are ready. On the host device; prints JSON, times in microseconds.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"
#include "torch/autocast.h"
#include "torch/executor.h"
#include "torch/program.h"
#include "torch/weight_table.h"

namespace deepplan {
namespace {

constexpr int kOperators = 1000;
constexpr int kRepeats = 500;

// x + x, then + x again and again; every addition a layer of its own, which is the most that hooks can cost.
Graph chain_of_additions() {
  Graph graph;
  graph.slot_count = kOperators + 1;
  graph.inputs = {{.name = "x", .dtype = "float32", .shape = {1}, .slot = 0}};
  for (int i = 0; i < kOperators; ++i) {
    Step step;
    step.op = "aten::add";
    step.overload = "Tensor";
    step.arguments = {{Slot{i}}, {Slot{0}}};
    step.outputs = {i + 1};
    if (i > 0) step.frees = {i};
    graph.steps.push_back(std::move(step));
    graph.layers.push_back({.name = "add" + std::to_string(i), .begin = i, .end = i + 1, .storages = {}});
  }
  graph.outputs = {{Slot{kOperators}}};
  return graph;
}

class NoHook : public LayerHook {
  void before_layer(int) override {}
  void after_layer(int) override {}
};

template <typename Work>
double microseconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

double median_per_operator(std::vector<double> totals) {
  const auto middle = totals.begin() + static_cast<std::ptrdiff_t>(totals.size() / 2);
  std::nth_element(totals.begin(), middle, totals.end());
  return *middle / kOperators;
}

int run() {
  const Program program(chain_of_additions(), c10::Device(c10::kCPU));
  const ExecutionPlan plan{.placement = std::vector<Placement>(kOperators, Placement::DirectHostAccess),
                           .group = std::vector<int>(kOperators, -1),
                           .route = {}};
  const WeightTable weights(program, uses_on_device(program, plan), WeightLayout{}, {});
  const auto device = open_device({Backend::Host, 0});
  const c10::OperatorHandle& add = *program.steps().front().handle;
  const at::Tensor x = at::ones({1});
  NoHook hook;

  std::vector<double> executor_us;
  std::vector<double> bare_us;
  for (int repeat = -10; repeat < kRepeats; ++repeat) {  // those below zero warm up
    const double in_executor_us = microseconds([&] { execute(program, weights, {x}, hook, *device); });
    std::vector<torch::jit::Stack> stacks(kOperators, {x, x, c10::Scalar(1)});
    const PlainDispatch plain_dispatch;
    const double in_loop_us = microseconds([&] {
      for (torch::jit::Stack& stack : stacks) add.callBoxed(stack);
    });
    if (repeat < 0) continue;
    executor_us.push_back(in_executor_us);
    bare_us.push_back(in_loop_us);
  }
  const double executor = median_per_operator(executor_us);
  const double bare = median_per_operator(bare_us);
  std::printf(
      "{\"operators\": %d, \"repeats\": %d, \"executor_us_per_operator\": %.4f, \"bare_loop_us_per_operator\": %.4f, "
      "\"overhead_us_per_operator\": %.4f}\n",
      kOperators, kRepeats, executor, bare, executor - bare);
  return 0;
}

}  // namespace
}  // namespace deepplan

int main() { return deepplan::run(); }
