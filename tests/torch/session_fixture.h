// What tests of a session share: links between host devices, and models with weights of their own.
#pragma once

#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/pinned_arena.h"
#include "small_graphs.h"
#include "torch/session.h"

namespace deepplan {

inline constexpr int kLayers = 4;

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

}  // namespace deepplan
