#include "runtime/plan.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

#include "core/error.h"
#include "runtime/random_model.h"

namespace deepplan {
namespace {

constexpr auto kLoad = Placement::Load;
constexpr auto kInPlace = Placement::DirectHostAccess;

// Layer 0 is read in place, layer 2 owns nothing.
const ModelWeights kWeights{.tensor_bytes = {100, 200, 300, 400}, .layer_tensors = {{0}, {1}, {}, {2, 3}}};
const ExecutionPlan kPlan{.placement = {kInPlace, kLoad, kLoad, kLoad}, .group = {-1, 0, -1, 1}, .route = {0, 1}};

std::string refusal(const std::function<void(ExecutionPlan&, ModelWeights&)>& spoil) {
  ExecutionPlan plan = kPlan;
  ModelWeights weights = kWeights;
  spoil(plan, weights);
  try {
    validate(plan, weights, 2);
  } catch (const InvalidArgument& error) {
    return error.message();
  }
  return "accepted";
}

TEST(Plan, AcceptsWhatFits) {
  validate(kPlan, kWeights, 2);
  validate({}, {}, 1);
  std::mt19937 random(3);
  for (int i = 0; i < 100; ++i) {
    const ModelWeights weights = random_weights(random, random() % 20, 5000);
    validate(random_plan(random, weights, 3), weights, 3);
  }
}

TEST(Plan, NamesTheLayerWhoseGroupIsWrong) {
  EXPECT_EQ(refusal([](auto& plan, auto&) { plan.group[1] = 1; }),
            "layer 1 is in group 1: after group -1 it must be 0");
  EXPECT_EQ(refusal([](auto& plan, auto&) { plan.group[3] = 2; }),
            "layer 3 is in group 2: after group 0 it must be 0 or 1");
  EXPECT_NE(refusal([](auto& plan, auto&) { plan.group[3] = -1; }).find("layer 3"), std::string::npos);
  EXPECT_NE(refusal([](auto& plan, auto&) { plan.group[1] = -1; }).find("layer 1"), std::string::npos);
  EXPECT_NE(refusal([](auto& plan, auto&) { plan.group[0] = 0; }).find("layer 0"), std::string::npos);
  EXPECT_NE(refusal([](auto& plan, auto&) { plan.group[2] = 0; }).find("layer 2"), std::string::npos);
}

TEST(Plan, NamesTheGroupWhoseRouteIsWrong) {
  EXPECT_EQ(refusal([](auto& plan, auto&) { plan.route[1] = 2; }), "group 1 travels over link 2: there are 2");
  EXPECT_EQ(refusal([](auto& plan, auto&) { plan.route[0] = -1; }), "group 0 travels over link -1: there are 2");
  EXPECT_EQ(refusal([](auto& plan, auto&) { plan.route.pop_back(); }), "the plan has 1 routes for 2 groups");
}

TEST(Plan, RefusesListsOfOtherLengths) {
  EXPECT_EQ(refusal([](auto& plan, auto&) { plan.placement.pop_back(); }),
            "the plan has 3 placements for a model of 4 layers");
  EXPECT_EQ(refusal([](auto& plan, auto&) { plan.group.push_back(1); }),
            "the plan has 5 group indices for a model of 4 layers");
}

TEST(Plan, RefusesTensorsWithoutOneOwner) {
  EXPECT_EQ(refusal([](auto&, auto& weights) { weights.layer_tensors[1] = {1, 2}; }),
            "tensor 2 is owned by layer 1 and by layer 3");
  EXPECT_EQ(refusal([](auto&, auto& weights) { weights.layer_tensors[3] = {2}; }), "tensor 3 is owned by no layer");
  EXPECT_EQ(refusal([](auto&, auto& weights) { weights.layer_tensors[3] = {2, 4}; }),
            "layer 3 owns tensor 4 of a model with 4");
  EXPECT_NE(refusal([](auto&, auto& weights) { weights.layer_tensors[0] = {-1}; }), "accepted");
}

TEST(Plan, HasAFlagForCodingForEveryGroupOrNone) {
  const ModelWeights weights{.tensor_bytes = {1}, .layer_tensors = {{0}}};
  ExecutionPlan plan{.placement = {Placement::Load}, .group = {0}, .route = {0}};
  EXPECT_NO_THROW(validate(plan, weights, 1));
  plan.coded = {true};
  EXPECT_NO_THROW(validate(plan, weights, 1));
  plan.coded = {true, false};
  EXPECT_THROW(validate(plan, weights, 1), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
