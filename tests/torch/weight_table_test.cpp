#include "torch/weight_table.h"

#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <cstring>

#include "small_graphs.h"

namespace deepplan {
namespace {

using Flags = std::vector<bool>;

TEST(UsesOnDevice, FollowThePlan) {
  const Program program(chain_of_linears(3), at::kCPU);
  EXPECT_EQ(uses_on_device(program, load_each({0, -1, 1}, {0, 0})), (Flags{true, true, false, false, true, true}));
  EXPECT_EQ(uses_on_device(program, load_each({-1, -1, -1}, {})), Flags(6, false));
}

TEST(UsesOnDevice, ATiedTableIsReadInPlaceUntilItIsLoaded) {
  const Program program(tied_table(), at::kCPU);
  // The head's group is waited for by the head: the embedding runs before.
  EXPECT_EQ(uses_on_device(program, load_each({-1, -1, 0}, {0})), (Flags{false, true}));
  EXPECT_EQ(uses_on_device(program, load_each({-1, -1, -1}, {})), (Flags{false, false}));
}

TEST(UsesOnDevice, AGroupThatAnEarlierLayerWaitedForIsThere) {
  Graph graph = tied_table();
  graph.storage_bytes.push_back(4);
  graph.layers[0].storages = {1};  // something of its own, in the same group as the table
  const Program program(std::move(graph), at::kCPU);
  EXPECT_EQ(uses_on_device(program, load_each({0, -1, 0}, {0})), (Flags{true, true}));
  EXPECT_EQ(uses_on_device(program, load_each({0, -1, 1}, {0, 0})), (Flags{false, true}));
}

TEST(UsesOnDevice, AModelOfNoStepsHasNoLayers) {
  Graph graph;
  graph.slot_count = 1;
  graph.outputs = {slot(0)};
  const Program program(std::move(graph), at::kCPU);
  EXPECT_EQ(uses_on_device(program, load_each({}, {})), Flags{});
}

TEST(StorageOwners, AreTheLayersThatNameThem) {
  EXPECT_EQ(storage_owners(chain_of_linears(2)), (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(storage_owners(tied_table()), std::vector<int>{2});
}

std::vector<char*> in_place(const WeightLayout& layout, char* host) {
  std::vector<char*> addresses;
  for (const std::size_t offset : layout.tensor_offset) addresses.push_back(host + offset);
  return addresses;
}

struct WeightTableTest : testing::Test {
  static constexpr std::size_t kBytes = 4096;
  Program program{chain_of_linears(2), at::kCPU};
  ExecutionPlan plan = load_each({0, -1}, {0});
  WeightLayout layout = lay_out({program.graph().storage_bytes, {{0, 1}, {2, 3}}}, plan);
  alignas(512) char host[kBytes] = {};
  alignas(512) char device[kBytes] = {};
  alignas(512) char elsewhere[kBytes] = {};
  WeightTable table{program, uses_on_device(program, plan), layout, in_place(layout, host)};

  const void* address(int use) const { return table.at(use).toTensor().const_data_ptr(); }
};

TEST_F(WeightTableTest, LoadedWeightsLieOnTheDeviceAndMoveWithIt) {
  for (char* base : {device, elsewhere, device}) {
    table.set_device_base(base);
    EXPECT_EQ(address(0), base + layout.tensor_offset[0]);
    EXPECT_EQ(address(1), base + layout.tensor_offset[1]);
  }
  EXPECT_FALSE(table.is_in_place(0));
}

TEST_F(WeightTableTest, OthersStayInHostMemory) {
  for (char* base : {device, elsewhere}) {
    table.set_device_base(base);
    EXPECT_EQ(address(2), host + layout.tensor_offset[2]);
    EXPECT_TRUE(table.is_in_place(2));
  }
}

TEST_F(WeightTableTest, TensorsSeeTheBytesThatAreThere) {
  const at::Tensor values = at::arange(kFeatures, at::kFloat);
  std::memcpy(elsewhere + layout.tensor_offset[1], values.const_data_ptr(), values.nbytes());
  table.set_device_base(elsewhere);
  const at::Tensor bias = table.at(1).toTensor();
  EXPECT_TRUE(bias.equal(values));
  EXPECT_EQ(table.at(0).toTensor().sizes(), (std::vector<int64_t>{kFeatures, kFeatures}));
  EXPECT_FALSE(bias.requires_grad());
}

TEST_F(WeightTableTest, AModelThatIsNotResidentHasNoDeviceAddress) {
  table.set_device_base(device);
  table.set_device_base(nullptr);
  EXPECT_EQ(address(0), nullptr);
}

TEST_F(WeightTableTest, WarmStartsFindPromotedWeightsOnTheDevice) {
  const WeightLayout promoted = lay_out({program.graph().storage_bytes, {{0, 1}, {2, 3}}}, plan, {0, 0, 1, 0});
  EXPECT_EQ(uses_on_device(program, plan), (std::vector{true, true, false, false}));
  EXPECT_EQ(uses_on_device(program, promoted), (std::vector{true, true, true, false}));
  WeightTable warm(program, uses_on_device(program, promoted), promoted, in_place(promoted, host));
  warm.set_device_base(device);
  EXPECT_EQ(warm.at(2).toTensor().const_data_ptr(), device + promoted.tensor_offset[2]);
  EXPECT_EQ(warm.at(3).toTensor().const_data_ptr(), host + promoted.tensor_offset[3]);
}

TEST(WeightTable, ViewsOfOneStorageShareItsBytes) {
  Graph graph = chain_of_linears(1);
  graph.weights.push_back({"transposed", 0, "float32", {kFeatures, kFeatures}, {1, kFeatures}, 0});
  graph.weights.push_back({"last row", 0, "float32", {kFeatures}, {1}, 4 * kFeatures * (kFeatures - 1)});
  graph.steps.push_back(step("aten::linear", "", {slot(0), weight(2), weight(3)}, {-1}));
  graph.layers[0].end = 3;
  const Program program(std::move(graph), at::kCPU);
  const ExecutionPlan plan = load_each({-1}, {});
  alignas(512) char host[4096] = {};
  const WeightLayout layout = lay_out({program.graph().storage_bytes, {{0, 1}}}, plan);
  const at::Tensor values = at::arange(kFeatures * kFeatures, at::kFloat).view({kFeatures, kFeatures});
  std::memcpy(host + layout.tensor_offset[0], values.const_data_ptr(), values.nbytes());
  const WeightTable table(program, uses_on_device(program, plan), layout, in_place(layout, host));
  EXPECT_TRUE(table.at(2).toTensor().equal(values.t()));
  EXPECT_TRUE(table.at(3).toTensor().equal(values[kFeatures - 1]));
}

}  // namespace
}  // namespace deepplan
