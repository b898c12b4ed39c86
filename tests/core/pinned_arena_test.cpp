#include "core/pinned_arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "core/error.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// Backing without cost, so that large arenas can be tested; counts what is alive.
class CountedSegment final : public PinnedSegment {
 public:
  CountedSegment(std::size_t bytes, int& alive) : data_(bytes), alive_(alive) { ++alive_; }
  ~CountedSegment() override { --alive_; }
  char* data() const override { return const_cast<char*>(data_.data()); }
  std::size_t size_bytes() const override { return data_.size(); }

 private:
  std::vector<char> data_;
  int& alive_;
};

struct ArenaTest : testing::Test {
  int alive = 0;
  std::vector<std::size_t> asked;
  PinnedArenaOptions options{.segment_bytes = 16 * kMiB, .step_bytes = kMiB, .backing = [this](std::size_t bytes) {
                               asked.push_back(bytes);
                               return std::make_unique<CountedSegment>(bytes, alive);
                             }};
};

TEST_F(ArenaTest, TakesNoMoreThanTheNeedSoFar) {
  PinnedArena arena(options);
  const PinnedBlock small = arena.allocate(1000);
  EXPECT_EQ(arena.stats().reserved_bytes, kMiB);
  const PinnedBlock large = arena.allocate(5 * kMiB / 2);
  EXPECT_EQ(arena.stats().reserved_bytes, 4 * kMiB);
  const PinnedBlock one_more = arena.allocate(kMiB);
  EXPECT_EQ(asked.back(), 4 * kMiB);  // as much again as there was
  const PinnedBlock huge = arena.allocate(40 * kMiB);
  EXPECT_EQ(asked.back(), 40 * kMiB);
  const PinnedBlock after = arena.allocate(10 * kMiB);
  EXPECT_EQ(asked.back(), 16 * kMiB);  // growth stops at a segment
  EXPECT_EQ(arena.stats().segments, 5);
}

TEST_F(ArenaTest, UsesFreedSpaceAgain) {
  PinnedArena arena(options);
  PinnedBlock a = arena.allocate(kMiB / 4);
  PinnedBlock b = arena.allocate(kMiB / 4);
  const PinnedBlock c = arena.allocate(kMiB / 2);
  char* const first = a.data();
  a = {};
  b = {};
  const PinnedBlock merged = arena.allocate(kMiB / 2);
  EXPECT_EQ(merged.data(), first);
  EXPECT_EQ(arena.stats().segments, 1);
}

TEST_F(ArenaTest, HandsBlocksOnWhenTheyAreMoved) {
  PinnedArena arena(options);
  PinnedBlock a = arena.allocate(1000);
  char* const data = a.data();
  PinnedBlock b = std::move(a);
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(b.size_bytes(), 1000);
  EXPECT_EQ(a.data(), nullptr);
  EXPECT_EQ(a.size_bytes(), 0);
  b = arena.allocate(2000);
  EXPECT_EQ(arena.stats().used_bytes, 2048);
}

TEST_F(ArenaTest, LivesAsLongAsItsBlocks) {
  PinnedBlock block;
  {
    PinnedArena arena(options);
    block = arena.allocate(1000);
  }
  EXPECT_EQ(alive, 1);
  std::memset(block.data(), 1, block.size_bytes());
  block = {};
  EXPECT_EQ(alive, 0);
}

TEST_F(ArenaTest, ReservesWhatIsMissingInOnePiece) {
  PinnedArena arena(options);
  arena.reserve(40 * kMiB);
  EXPECT_EQ(asked, (std::vector{40 * kMiB}));
  arena.reserve(10 * kMiB);
  const PinnedBlock larger_than_a_segment = arena.allocate(30 * kMiB);
  EXPECT_EQ(asked.size(), 1);
  arena.reserve(48 * kMiB);
  EXPECT_EQ(asked.back(), 8 * kMiB);
  arena.trim();
  EXPECT_EQ(alive, 1);
  EXPECT_EQ(arena.stats().reserved_bytes, 40 * kMiB);
}

TEST_F(ArenaTest, KeepsToItsLimit) {
  options.limit_bytes = 3 * kMiB + kMiB / 2;
  PinnedArena arena(options);
  const PinnedBlock a = arena.allocate(3 * kMiB);
  const PinnedBlock b = arena.allocate(kMiB / 2);  // a whole step would be too much
  EXPECT_EQ(arena.stats().reserved_bytes, 3 * kMiB + kMiB / 2);
  try {
    arena.allocate(1);
    FAIL() << "the limit was passed";
  } catch (const OutOfMemory& error) {
    EXPECT_NE(error.message().find("limit 3.5 MiB"), std::string::npos) << error.message();
  }
  EXPECT_THROW(arena.reserve(4 * kMiB), OutOfMemory);
  arena.set_limit(0);
  EXPECT_EQ(arena.allocate(1).size_bytes(), 1);
}

TEST_F(ArenaTest, GivesEmptySegmentsBackForABlockThatFitsInNone) {
  options.limit_bytes = 10 * kMiB;
  PinnedArena arena(options);
  {
    const PinnedBlock small = arena.allocate(6 * kMiB);
  }
  const PinnedBlock large = arena.allocate(8 * kMiB);
  EXPECT_EQ(arena.stats().reserved_bytes, 8 * kMiB);
  EXPECT_THROW(arena.allocate(4 * kMiB), OutOfMemory);
}

TEST_F(ArenaTest, AsksForLessWhenTheSystemRefuses) {
  options.backing = [this](std::size_t bytes) -> std::unique_ptr<PinnedSegment> {
    asked.push_back(bytes);
    if (bytes > 2 * kMiB) throw OutOfMemory("too much");
    return std::make_unique<CountedSegment>(bytes, alive);
  };
  PinnedArena arena(options);
  const PinnedBlock a = arena.allocate(2 * kMiB);
  const PinnedBlock b = arena.allocate(2 * kMiB);
  const PinnedBlock c = arena.allocate(kMiB);  // would like 4
  EXPECT_EQ(asked, (std::vector{2 * kMiB, 2 * kMiB, 4 * kMiB, kMiB}));
  EXPECT_THROW(arena.allocate(3 * kMiB), OutOfMemory);
  EXPECT_EQ(alive, 3);
}

TEST_F(ArenaTest, NeverGivesMemoryToTwoBlocks) {
  options.segment_bytes = 4 * kMiB;
  PinnedArena arena(options);
  std::mt19937 random(7);
  std::map<int, PinnedBlock> live;
  for (int step = 0; step < 3000; ++step) {
    if (live.size() > 20 || (!live.empty() && random() % 2 == 0)) {
      const auto victim = std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
      const char mark = static_cast<char>(victim->first % 127);
      for (std::size_t i = 0; i < victim->second.size_bytes(); i += 97) ASSERT_EQ(victim->second.data()[i], mark);
      live.erase(victim);
    } else {
      PinnedBlock block = arena.allocate(random() % (kMiB / 4));
      std::memset(block.data(), step % 127, block.size_bytes());
      live.emplace(step, std::move(block));
    }
  }
  EXPECT_LE(arena.stats().reserved_bytes, 16 * kMiB);
  live.clear();
  EXPECT_EQ(arena.stats().used_bytes, 0);
}

TEST(AnonymousBacking, GivesZeroedWritableAlignedMemory) {
  const auto segment = anonymous_backing()(5 * kMiB + 4096);
  EXPECT_EQ(segment->size_bytes(), 5 * kMiB + 4096);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(segment->data()) % (2 * kMiB), 0);
  for (std::size_t i = 0; i < segment->size_bytes(); ++i) ASSERT_EQ(segment->data()[i], 0);
  std::memset(segment->data(), 1, segment->size_bytes());
}

TEST(AnonymousBacking, RefusesWhatIsNotThere) {
  EXPECT_THROW(anonymous_backing()(std::size_t{1} << 50), OutOfMemory);
  PinnedArena arena;
  EXPECT_THROW(arena.allocate(static_cast<std::size_t>(-1)), OutOfMemory);
  EXPECT_THROW(arena.allocate(static_cast<std::size_t>(-1) - 4096), OutOfMemory);
}

TEST(ProcessArena, IsOneAndThreadSafe) {
  EXPECT_EQ(&process_arena(), &process_arena());
  const std::size_t before = process_arena().stats().used_bytes;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([thread] {
        for (int i = 0; i < 50; ++i) {
          const PinnedBlock block = process_arena().allocate(10000);
          EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % kPinnedAlignmentBytes, 0);
          std::memset(block.data(), thread, block.size_bytes());
        }
      });
    }
  }
  EXPECT_EQ(process_arena().stats().used_bytes, before);
}

TEST(PinnedArena, TakesTheEndOfABlockBack) {
  PinnedArena arena({.step_bytes = std::size_t{1} << 20});
  PinnedBlock block = arena.allocate(std::size_t{1} << 20);
  block.data()[100] = 7;
  block.shrink(1000);
  EXPECT_EQ(block.size_bytes(), 1000);
  EXPECT_EQ(block.data()[100], 7);
  EXPECT_EQ(arena.stats().used_bytes, 1024);
  const PinnedBlock beside = arena.allocate((std::size_t{1} << 20) - 1024);
  EXPECT_EQ(arena.stats().segments, 1);
  block.shrink(5000);
  EXPECT_EQ(block.size_bytes(), 1000);
}

}  // namespace
}  // namespace deepplan
