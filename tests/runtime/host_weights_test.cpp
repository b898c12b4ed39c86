#include "runtime/host_weights.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <random>
#include <vector>

#include "core/ended_process.h"
#include "core/error.h"
#include "core/kept_memory.h"
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

TEST(HostWeights, KeepEveryTensorWhenGroupsAreCoded) {
  PinnedArena arena({.step_bytes = std::size_t{1} << 20});
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    const ModelWeights model = random_weights(random, 1 + random() % 20, 100000);
    const ExecutionPlan plan = random_plan(random, model, 1);
    std::vector<bool> promotable(model.tensor_bytes.size());
    for (std::size_t i = 0; i < promotable.size(); ++i) promotable[i] = random() % 2 == 0;
    HostWeights weights(arena, lay_out(model, plan, promotable));
    round % 2 == 0 ? write_weights(weights) : write_pattern(weights);
    const auto before = read_all(weights);
    const std::size_t plain = weights.size_bytes();
    weights.code(random_codings(random, plan.route.size()));
    ASSERT_EQ(read_all(weights), before);
    ASSERT_LE(weights.size_bytes(), plain);
    ASSERT_LE(weights.crossing_bytes(), weights.layout().loaded_bytes);
    for (std::size_t tensor = 0; tensor < model.tensor_bytes.size(); ++tensor) {
      const char* const data = weights.data(static_cast<int>(tensor));
      if (data != nullptr) {
        ASSERT_EQ((data - weights.begin()) % 512, 0);
      }
    }
    weights.relayout(lay_out(model, random_plan(random, model, 1)));
    ASSERT_EQ(read_all(weights), before);
    ASSERT_EQ(weights.crossing_bytes(), weights.layout().loaded_bytes);
  }
}

// An arena in memory that is kept, as a process of its own would have it.
struct KeptArena {
  explicit KeptArena(int file) : arena({.step_bytes = std::size_t{1} << 20}) {
    const auto memory = std::make_shared<KeptMemory>(file);
    arena.use([memory](std::size_t bytes) { return memory->append(bytes); },
              [memory](std::size_t at, std::size_t bytes) { return memory->attach(at, bytes); });
  }
  PinnedArena arena;
};

TEST(HostWeights, AreFoundAgainByALaterProcess) {
  std::mt19937 random(11);
  for (int round = 0; round < 40; ++round) {
    const int file = memfd_create("weights", MFD_CLOEXEC);
    const ModelWeights model = random_weights(random, 1 + random() % 20, 100000);
    const ExecutionPlan plan = random_plan(random, model, 1);
    const auto codings = random_codings(random, plan.route.size());
    auto& lost = of_ended_process<KeptArena>(file);
    auto& first = of_ended_process<HostWeights>(lost.arena, lay_out(model, plan));
    round % 2 == 0 ? write_weights(first) : write_pattern(first);
    if (round % 4 < 3) first.code(codings);
    const auto before = read_all(first);

    KeptArena kept(file);
    const HostWeights second(kept.arena, lay_out(model, plan), first.copy(), codings);
    ASSERT_EQ(read_all(second), before);
    ASSERT_EQ(second.crossing_bytes(), first.crossing_bytes());
    ASSERT_EQ(second.size_bytes(), first.size_bytes());
    close(file);
  }
}

TEST(HostWeights, RefuseAHostCopyOfAnotherPlan) {
  const int file = memfd_create("weights", MFD_CLOEXEC);
  const ModelWeights model{.tensor_bytes = {200000, 1000}, .layer_tensors = {{0}, {1}}};
  const ExecutionPlan plan{.placement = {Placement::Load, Placement::Load}, .group = {0, 1}, .route = {0, 0}};
  auto& lost = of_ended_process<KeptArena>(file);
  const HostCopy copy = of_ended_process<HostWeights>(lost.arena, lay_out(model, plan)).copy();
  const auto adopt = [&](const HostCopy& wanted, const std::vector<std::optional<GroupCoding>>& codings) {
    KeptArena kept(file);
    HostWeights(kept.arena, lay_out(model, plan), wanted, codings);
  };
  EXPECT_THROW(adopt(copy, {std::nullopt}), InvalidArgument);
  EXPECT_THROW(adopt({copy.place, {{}}}, {std::nullopt, std::nullopt}), InvalidArgument);
  EXPECT_THROW(adopt({copy.place, {{100}, {}}}, {std::nullopt, std::nullopt}), InvalidArgument);
  const GroupCoding coding{WeightFormat::BFloat16, 200000};
  EXPECT_THROW(adopt({copy.place, {{300000}, {}}}, {coding, std::nullopt}), InvalidArgument);
  HostCopy shorter = copy;
  shorter.place.bytes = 1000;
  EXPECT_THROW(adopt(shorter, {std::nullopt, std::nullopt}), InvalidArgument);
  close(file);
}

TEST(HostWeights, TakeLessMemoryWhenCoded) {
  constexpr std::size_t kBytes = std::size_t{4} << 20;
  PinnedArena arena({.step_bytes = std::size_t{1} << 20});
  const ModelWeights model{.tensor_bytes = {kBytes, kBytes}, .layer_tensors = {{0}, {1}}};
  const ExecutionPlan plan{.placement = {Placement::Load, Placement::Load}, .group = {0, 1}, .route = {0, 0}};
  HostWeights weights(arena, lay_out(model, plan));
  write_weights(weights);
  weights.code({std::nullopt, GroupCoding{WeightFormat::BFloat16, kBytes / 3}});
  EXPECT_EQ(weights.plain_data(weights.layout().groups[0]), weights.begin());
  EXPECT_EQ(weights.coded_pieces(1).size(), 4);  // even ones would be a few bytes too long
  EXPECT_EQ(weights.data(1), nullptr);
  EXPECT_THROW(weights.plain_data(weights.layout().groups[1]), InvalidArgument);
  EXPECT_LT(weights.crossing_bytes(), kBytes + kBytes * 3 / 4);
  EXPECT_LT(arena.stats().used_bytes, kBytes + kBytes * 3 / 4);
  EXPECT_THROW(weights.code({std::nullopt, std::nullopt}), InvalidArgument);
}

TEST(HostWeights, FindStretchesOfPlainGroupsBesideCodedOnes) {
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  PinnedArena arena({.step_bytes = std::size_t{1} << 20});
  const ModelWeights model{.tensor_bytes = {kBytes, kBytes, kBytes, 1000}, .layer_tensors = {{0}, {1}, {2}, {3}}};
  const ExecutionPlan plan{.placement = std::vector(4, Placement::Load), .group = {0, 1, 2, 3}, .route = {0, 0, 0, 0}};
  HostWeights weights(arena, lay_out(model, plan));
  write_weights(weights);
  EXPECT_EQ(weights.plain_data({0, 3 * kBytes}), weights.begin());
  weights.code({std::nullopt, GroupCoding{WeightFormat::BFloat16, kBytes / 3}, std::nullopt, std::nullopt});
  const std::vector<Extent>& groups = weights.layout().groups;
  const Extent last_two{groups[2].offset, groups[2].bytes + groups[3].bytes};
  EXPECT_EQ(weights.plain_data(last_two), weights.data(2));
  EXPECT_EQ(weights.plain_data(groups[3]), weights.data(3));
  EXPECT_EQ(weights.plain_data({groups[2].offset + 512, 512}), weights.data(2) + 512);
  EXPECT_THROW(weights.plain_data({groups[0].offset, groups[0].bytes + 512}), InvalidArgument);
  EXPECT_THROW(weights.plain_data({groups[1].offset + 512, kBytes}), InvalidArgument);
  EXPECT_EQ(weights.coded_pieces(groups[1]).size(), weights.coded_pieces(1).size());
  EXPECT_TRUE(weights.coded_pieces(groups[0]).empty());
  EXPECT_TRUE(weights.coded_pieces(last_two).empty());
}

TEST(HostWeights, LeavePiecesPlainThatWouldGrow) {
  PinnedArena arena({.step_bytes = std::size_t{1} << 20});
  const ModelWeights model{.tensor_bytes = {200000}, .layer_tensors = {{0}}};
  HostWeights weights(arena, lay_out(model, {.placement = {Placement::Load}, .group = {0}, .route = {0}}));
  std::mt19937 random(8);
  for (std::size_t i = 0; i < 200000; ++i) weights.data(0)[i] = static_cast<char>(random());
  const auto before = read_all(weights);
  weights.code({GroupCoding{WeightFormat::BFloat16, 40000}});
  for (const HostPiece& piece : weights.coded_pieces(0)) EXPECT_FALSE(piece.coding);
  EXPECT_EQ(read_all(weights), before);
}

}  // namespace
}  // namespace deepplan
