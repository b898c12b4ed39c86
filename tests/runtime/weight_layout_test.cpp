#include "runtime/weight_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "runtime/random_model.h"

namespace deepplan {
namespace {

TEST(WeightLayout, PutsGroupsFirstAndInPlaceTensorsLast) {
  const ModelWeights weights{.tensor_bytes = {100, 600, 512, 1}, .layer_tensors = {{0}, {2, 1}, {3}}};
  const ExecutionPlan plan{.placement = {Placement::DirectHostAccess, Placement::Load, Placement::Load},
                           .group = {-1, 0, 1},
                           .route = {0, 0}};
  const WeightLayout layout = lay_out(weights, plan);
  EXPECT_EQ(layout.tensor_offset, (std::vector<std::size_t>{2048, 512, 0, 1536}));
  EXPECT_EQ(layout.tensor_resident, (std::vector{false, true, true, true}));
  ASSERT_EQ(layout.groups.size(), 2);
  EXPECT_EQ(layout.groups[0].offset, 0);
  EXPECT_EQ(layout.groups[0].bytes, 1536);
  EXPECT_EQ(layout.groups[1].offset, 1536);
  EXPECT_EQ(layout.groups[1].bytes, 512);
  EXPECT_EQ(layout.loaded_bytes, 2048);
  EXPECT_EQ(layout.resident_bytes, 2048);
  EXPECT_EQ(layout.total_bytes, 2560);
}

TEST(WeightLayout, PutsPromotedTensorsBetweenThem) {
  const ModelWeights weights{.tensor_bytes = {100, 600, 512, 1}, .layer_tensors = {{0, 1}, {2}, {3}}};
  const ExecutionPlan plan{.placement = {Placement::DirectHostAccess, Placement::Load, Placement::DirectHostAccess},
                           .group = {-1, 0, -1},
                           .route = {0}};
  const WeightLayout layout = lay_out(weights, plan, {false, true, true, true});
  EXPECT_EQ(layout.tensor_offset, (std::vector<std::size_t>{2048, 512, 0, 1536}));
  EXPECT_EQ(layout.tensor_resident, (std::vector{false, true, true, true}));
  EXPECT_EQ(layout.loaded_bytes, 512);
  EXPECT_EQ(layout.resident_bytes, 2048);
  EXPECT_EQ(layout.total_bytes, 2560);
}

TEST(WeightLayout, KeepsItsPromisesForRandomPlans) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    const ModelWeights weights = random_weights(random, random() % 30, 100000);
    const ExecutionPlan plan = random_plan(random, weights, 2);
    std::vector<bool> promotable(weights.tensor_bytes.size());
    for (std::size_t i = 0; i < promotable.size(); ++i) promotable[i] = random() % 2 == 0;
    const WeightLayout layout = lay_out(weights, plan, promotable);
    std::vector<Extent> taken;
    for (std::size_t layer = 0; layer < weights.layer_tensors.size(); ++layer) {
      for (const int tensor : weights.layer_tensors[layer]) {
        const auto index = static_cast<std::size_t>(tensor);
        const Extent extent{layout.tensor_offset[index], weights.tensor_bytes[index]};
        ASSERT_EQ(extent.offset % kTensorAlignmentBytes, 0);
        ASSERT_LE(extent.end(), layout.total_bytes);
        const int group = plan.group[layer];
        ASSERT_EQ(layout.tensor_resident[index], group >= 0 || promotable[index]);
        ASSERT_EQ(extent.offset < layout.resident_bytes, layout.tensor_resident[index]);
        if (group >= 0) {
          const Extent& home = layout.groups[static_cast<std::size_t>(group)];
          ASSERT_GE(extent.offset, home.offset);
          ASSERT_LE(extent.end(), home.end());
        } else {
          ASSERT_GE(extent.offset, layout.loaded_bytes);
        }
        if (extent.bytes > 0) taken.push_back(extent);
      }
    }
    std::sort(taken.begin(), taken.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
    for (std::size_t i = 1; i < taken.size(); ++i) ASSERT_LE(taken[i - 1].end(), taken[i].offset);
    std::size_t end = 0;
    for (const Extent& group : layout.groups) {
      ASSERT_EQ(group.offset, end);
      end = group.end();
    }
    ASSERT_EQ(end, layout.loaded_bytes);
    ASSERT_EQ(layout.groups.size(), plan.route.size());
  }
}

}  // namespace
}  // namespace deepplan
