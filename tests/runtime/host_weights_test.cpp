#include "runtime/host_weights.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/error.h"
#include "runtime/random_model.h"

namespace deepplan {
namespace {

std::vector<std::vector<char>> contents(const HostWeights& weights) {
  std::vector<std::vector<char>> tensors;
  for (std::size_t tensor = 0; tensor < weights.layout().tensor_bytes.size(); ++tensor) {
    const char* data = weights.data(static_cast<int>(tensor));
    tensors.emplace_back(data, data + weights.layout().tensor_bytes[tensor]);
  }
  return tensors;
}

TEST(HostWeights, KeepEveryTensorThroughOtherLayouts) {
  std::mt19937 random(5);
  PinnedArena arena({.step_bytes = std::size_t{1} << 20});
  for (int round = 0; round < 20; ++round) {
    const ModelWeights model = random_weights(random, 20, 50000);
    HostWeights weights(arena, lay_out(model, random_plan(random, model, 1)));
    write_pattern(weights);
    const auto before = contents(weights);
    for (int again = 0; again < 3; ++again) {
      weights.relayout(lay_out(model, random_plan(random, model, 1)));
      ASSERT_EQ(contents(weights), before);
    }
  }
  EXPECT_EQ(arena.stats().used_bytes, 0);
}

TEST(HostWeights, StayAsTheyAreWhenThereIsNoRoomToMove) {
  const ModelWeights model{.tensor_bytes = {3000, 1000}, .layer_tensors = {{0}, {1}}};
  const ExecutionPlan load{.placement = {Placement::Load, Placement::Load}, .group = {0, 0}, .route = {0}};
  PinnedArena arena({.limit_bytes = 6144});
  HostWeights weights(arena, lay_out(model, load));
  write_pattern(weights);
  const auto before = contents(weights);
  ExecutionPlan other = load;
  other.placement[0] = Placement::DirectHostAccess;
  other.group[0] = -1;
  EXPECT_THROW(weights.relayout(lay_out(model, other)), OutOfMemory);
  EXPECT_EQ(contents(weights), before);
  EXPECT_EQ(weights.layout().loaded_bytes, 4096);
}

TEST(HostWeights, RefuseAnotherModelsLayout) {
  PinnedArena arena;
  HostWeights weights(arena, lay_out({.tensor_bytes = {8}, .layer_tensors = {{0}}},
                                     {.placement = {Placement::Load}, .group = {0}, .route = {0}}));
  EXPECT_THROW(weights.relayout(WeightLayout{}), InvalidArgument);
  EXPECT_THROW(weights.data(1), std::out_of_range);
}

}  // namespace
}  // namespace deepplan
