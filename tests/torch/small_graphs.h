// Graphs written by hand: short names for what steps are given, and a small model whose result is easy to know.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/relu.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"
#include "runtime/plan.h"
#include "torch/executor.h"
#include "torch/graph.h"

namespace deepplan {

inline Argument slot(int index) { return {Slot{index}}; }
inline Argument weight(int index) { return {WeightReference{index}}; }
inline Argument integer(int64_t value) { return {value}; }
inline Argument list(Argument::List items) { return {std::move(items)}; }

inline Step step(std::string op, std::string overload, std::vector<Argument> arguments, std::vector<int> outputs,
                 std::vector<int> frees = {}) {
  return {.op = std::move(op),
          .overload = std::move(overload),
          .arguments = std::move(arguments),
          .keyword_arguments = {},
          .outputs = std::move(outputs),
          .frees = std::move(frees)};
}

// A graph of one layer without weights, over fp32 inputs of shape [2, 3] in the first slots.
inline Graph graph_of(std::vector<Step> steps, std::vector<Argument> outputs, int inputs = 1, int slots = 8) {
  Graph graph;
  graph.slot_count = slots;
  graph.steps = std::move(steps);
  graph.outputs = std::move(outputs);
  graph.layers = {{.name = "all", .begin = 0, .end = static_cast<int>(graph.steps.size()), .storages = {}}};
  for (int i = 0; i < inputs; ++i) {
    graph.inputs.push_back({.name = "x" + std::to_string(i), .dtype = "float32", .shape = {2, 3}, .slot = i});
  }
  return graph;
}

inline constexpr int64_t kFeatures = 8;

// `layers` times relu(linear(x)), a layer each, x of shape [2, 8]; storage 2i is layer i's weight, 2i + 1 its bias.
inline Graph chain_of_linears(int layers) {
  Graph graph;
  graph.slot_count = 2 * layers + 1;
  graph.inputs = {{.name = "x", .dtype = "float32", .shape = {2, kFeatures}, .slot = 0}};
  for (int i = 0; i < layers; ++i) {
    const std::string name = "fc" + std::to_string(i);
    graph.storage_bytes.insert(graph.storage_bytes.end(), {4 * kFeatures * kFeatures, 4 * kFeatures});
    graph.weights.push_back({name + ".weight", 2 * i, "float32", {kFeatures, kFeatures}, {kFeatures, 1}, 0});
    graph.weights.push_back({name + ".bias", 2 * i + 1, "float32", {kFeatures}, {1}, 0});
    const int in = 2 * i;
    graph.steps.push_back(step("aten::linear", "", {slot(in), weight(2 * i), weight(2 * i + 1)}, {in + 1}, {in}));
    graph.steps.push_back(step("aten::relu", "", {slot(in + 1)}, {in + 2}, {in + 1}));
    graph.layers.push_back({name, 2 * i, 2 * i + 2, {2 * i, 2 * i + 1}});
  }
  graph.outputs = {slot(2 * layers)};
  return graph;
}

// The same by torch itself. `weights` as the graph has them.
inline at::Tensor chain_by_torch(at::Tensor x, const std::vector<at::Tensor>& weights) {
  for (std::size_t i = 0; i < weights.size(); i += 2) x = at::relu(at::linear(x, weights[i], weights[i + 1]));
  return x;
}

// An embedding whose table, storage 0, is also the output head: gathered by layer 0, owned and read whole by layer 2.
inline Graph tied_table() {
  Graph graph;
  graph.slot_count = 4;
  graph.inputs = {{.name = "ids", .dtype = "int64", .shape = {2}, .slot = 0}};
  graph.storage_bytes = {4 * 16 * kFeatures};
  graph.weights = {{"table", 0, "float32", {16, kFeatures}, {kFeatures, 1}, 0}};
  graph.steps = {step("aten::embedding", "", {weight(0), slot(0)}, {1}, {0}),
                 step("aten::relu", "", {slot(1)}, {2}, {1}), step("aten::linear", "", {slot(2), weight(0)}, {3}, {2})};
  graph.layers = {{"embedding", 0, 1, {}}, {"act", 1, 2, {}}, {"head", 2, 3, {0}}};
  graph.outputs = {slot(3)};
  return graph;
}

inline ExecutionPlan load_each(std::vector<int> groups, std::vector<int> routes) {
  ExecutionPlan plan{.placement = {}, .group = std::move(groups), .route = std::move(routes)};
  for (const int group : plan.group) {
    plan.placement.push_back(group >= 0 ? Placement::Load : Placement::DirectHostAccess);
  }
  return plan;
}

struct NoHook : LayerHook {
  void before_layer(int) override {}
  void after_layer(int) override {}
};

}  // namespace deepplan
