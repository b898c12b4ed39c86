#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include "runtime/host_weights.h"
#include "runtime/plan.h"

namespace deepplan {

// Layers with none to three tensors of 0 bytes to `most_bytes`, most of them small and of odd sizes.
inline ModelWeights random_weights(std::mt19937& random, std::size_t layers, std::size_t most_bytes) {
  ModelWeights weights;
  weights.layer_tensors.resize(layers);
  for (auto& tensors : weights.layer_tensors) {
    for (unsigned count = random() % 4; count > 0; --count) {
      tensors.push_back(static_cast<int>(weights.tensor_bytes.size()));
      const std::size_t limit = random() % 3 == 0 ? most_bytes : 2000;
      weights.tensor_bytes.push_back(random() % (limit + 1));
    }
  }
  return weights;
}

// A valid plan: a fifth of the layers read in place, groups of random length, every link used at random.
inline ExecutionPlan random_plan(std::mt19937& random, const ModelWeights& weights, int link_count) {
  ExecutionPlan plan;
  for (const auto& tensors : weights.layer_tensors) {
    const bool load = random() % 5 != 0;
    plan.placement.push_back(load ? Placement::Load : Placement::DirectHostAccess);
    if (!load || tensors.empty()) {
      plan.group.push_back(-1);
      continue;
    }
    if (plan.route.empty() || random() % 2 == 0) {
      plan.route.push_back(static_cast<int>(random() % static_cast<unsigned>(link_count)));
    }
    plan.group.push_back(static_cast<int>(plan.route.size()) - 1);
  }
  return plan;
}

// The same layers loaded, in other groups over other routes.
inline ExecutionPlan regrouped(std::mt19937& random, ExecutionPlan plan, int link_count) {
  plan.route.clear();
  for (int& group : plan.group) {
    if (group < 0) continue;
    if (plan.route.empty() || random() % 3 == 0) {
      plan.route.push_back(static_cast<int>(random() % static_cast<unsigned>(link_count)));
    }
    group = static_cast<int>(plan.route.size()) - 1;
  }
  return plan;
}

// Writes bytes that tell tensor and position, never 0xff.
inline void write_pattern(const HostWeights& weights) {
  const WeightLayout& layout = weights.layout();
  for (std::size_t tensor = 0; tensor < layout.tensor_bytes.size(); ++tensor) {
    char* const data = weights.data(static_cast<int>(tensor));
    for (std::size_t i = 0; i < layout.tensor_bytes[tensor]; ++i) {
      data[i] = static_cast<char>((tensor * 31 + i * 7) % 251);
    }
  }
}

// Writes bfloat16 weights around zero, which coding makes smaller; what is no whole weight stays as it was.
inline void write_weights(const HostWeights& weights, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0.0F, 0.02F);
  const WeightLayout& layout = weights.layout();
  for (std::size_t tensor = 0; tensor < layout.tensor_bytes.size(); ++tensor) {
    char* const data = weights.data(static_cast<int>(tensor));
    for (std::size_t at = 0; at + 2 <= layout.tensor_bytes[tensor]; at += 2) {
      const float value = draw(random);
      std::memcpy(data + at, reinterpret_cast<const char*>(&value) + 2, 2);
    }
  }
}

// Every tensor's plain bytes.
inline std::vector<std::vector<char>> read_all(const HostWeights& weights) {
  std::vector<std::vector<char>> all;
  for (std::size_t tensor = 0; tensor < weights.layout().tensor_bytes.size(); ++tensor) {
    all.emplace_back(weights.layout().tensor_bytes[tensor]);
    weights.read(static_cast<int>(tensor), all.back().data());
  }
  return all;
}

// Each group coded with probability 1/2, in pieces of a few KiB.
inline std::vector<std::optional<GroupCoding>> random_codings(std::mt19937& random, std::size_t groups) {
  std::vector<std::optional<GroupCoding>> codings(groups);
  for (auto& coding : codings) {
    if (random() % 2 == 0) coding = GroupCoding{WeightFormat::BFloat16, 512 * (1 + random() % 40)};
  }
  return codings;
}

}  // namespace deepplan
