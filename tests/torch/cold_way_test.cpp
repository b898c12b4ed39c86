#include "torch/cold_way.h"

#include <gtest/gtest.h>

#include "core/pinned_arena.h"

namespace deepplan {
namespace {

ExecutionPlan plan_of(std::vector<int> group, std::size_t groups) {
  ExecutionPlan plan{.placement = {}, .group = std::move(group), .route = std::vector<int>(groups, 0)};
  for (const int each : plan.group) {
    plan.placement.push_back(each < 0 ? Placement::DirectHostAccess : Placement::Load);
  }
  return plan;
}

TEST(ColdWay, ABoundGroupNeedsAllThatHaveAShareInIt) {
  const ModelWeights model{.tensor_bytes = {10, 10, 10, 10, 10, 10}, .layer_tensors = {{0}, {1}, {2}, {3}, {4}, {5}}};
  const ExecutionPlan bound = plan_of({0, 0, -1, 1, 2, 2}, 3);
  PinnedArena arena({.step_bytes = std::size_t{1} << 20});
  const HostWeights weights(arena, lay_out(model, bound));
  Links links(open_device({Backend::Host, 0}), {});
  const auto last_groups = [&](const ExecutionPlan& plan) {
    const ColdWay way(links, weights, bound, plan, lay_out(model, plan).groups);
    return std::vector{way.last_group(0), way.last_group(1), way.last_group(2)};
  };
  EXPECT_EQ(last_groups(bound), (std::vector{0, 1, 2}));
  EXPECT_EQ(last_groups(plan_of({0, 0, -1, 0, 0, 0}, 1)), (std::vector{0, 0, 0}));
  EXPECT_EQ(last_groups(plan_of({0, 1, -1, 1, 1, 2}, 3)), (std::vector{1, 1, 2}));
  EXPECT_EQ(last_groups(plan_of({0, 1, -1, 2, 3, 4}, 5)), (std::vector{1, 2, 4}));
}

}  // namespace
}  // namespace deepplan
