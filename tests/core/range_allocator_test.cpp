#include "core/range_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "core/error.h"

namespace deepplan {
namespace {

TEST(RangeAllocator, TakesTheSmallestGapThatFits) {
  RangeAllocator ranges(10 * 512);
  const auto a = ranges.allocate(3 * 512);
  const auto b = ranges.allocate(512);
  const auto c = ranges.allocate(2 * 512);
  ranges.allocate(512);
  ranges.release(*a);
  ranges.release(*c);
  EXPECT_EQ(ranges.best_fit_bytes(600), 2 * 512);
  EXPECT_EQ(ranges.allocate(600), c);
  EXPECT_EQ(ranges.allocate(1200), a);
  EXPECT_EQ(b, 3 * 512);
}

TEST(RangeAllocator, MergesFreedNeighboursOnBothSides) {
  RangeAllocator ranges(4 * 512);
  const auto a = ranges.allocate(512);
  const auto b = ranges.allocate(512);
  const auto c = ranges.allocate(512);
  const auto d = ranges.allocate(512);
  EXPECT_EQ(ranges.allocate(1), std::nullopt);
  ranges.release(*a);
  ranges.release(*c);
  EXPECT_EQ(ranges.largest_free_bytes(), 512);
  ranges.release(*b);
  EXPECT_EQ(ranges.largest_free_bytes(), 3 * 512);
  ranges.release(*d);
  EXPECT_TRUE(ranges.empty());
  EXPECT_EQ(ranges.allocate(4 * 512), 0);
}

TEST(RangeAllocator, GivesEmptyRangesOffsetsOfTheirOwn) {
  RangeAllocator ranges(1024);
  const auto first = ranges.allocate(0);
  const auto second = ranges.allocate(0);
  EXPECT_NE(first, second);
  EXPECT_EQ(ranges.used_bytes(), 1024);
}

TEST(RangeAllocator, RefusesMisuse) {
  RangeAllocator ranges(4096);
  const auto a = ranges.allocate(512);
  ranges.release(*a);
  EXPECT_THROW(ranges.release(*a), InvalidArgument);
  EXPECT_THROW(ranges.range_bytes(*a), InvalidArgument);
  EXPECT_THROW(RangeAllocator(4096, 500), InvalidArgument);
  EXPECT_EQ(ranges.allocate(4097), std::nullopt);
  EXPECT_EQ(ranges.allocate(static_cast<std::size_t>(-1)), std::nullopt);
  EXPECT_EQ(RangeAllocator(100).allocate(1), std::nullopt);
}

// Against a map of units: never two owners of one unit, a refusal only when no gap is long enough, the best fit taken.
TEST(RangeAllocator, AgreesWithABitmapOverRandomUse) {
  constexpr std::size_t kUnits = 200;
  std::mt19937 random(1);
  RangeAllocator ranges(kUnits * 512);
  std::vector<bool> taken(kUnits, false);
  std::vector<std::pair<std::size_t, std::size_t>> live;
  const auto smallest_gap = [&](std::size_t units) {
    std::size_t best = kUnits + 1;
    for (std::size_t begin = 0; begin < kUnits;) {
      std::size_t end = begin;
      while (end < kUnits && !taken[end]) ++end;
      if (end - begin >= units && end > begin) best = std::min(best, end - begin);
      begin = end + 1;
    }
    return best;
  };
  for (int step = 0; step < 20000; ++step) {
    if (!live.empty() && random() % 2 == 0) {
      const std::size_t pick = random() % live.size();
      const auto [begin, units] = live[pick];
      ranges.release(begin * 512);
      std::fill_n(taken.begin() + static_cast<std::ptrdiff_t>(begin), units, false);
      live[pick] = live.back();
      live.pop_back();
    } else {
      const std::size_t units = 1 + random() % 40;
      const std::size_t gap = smallest_gap(units);
      const auto offset = ranges.allocate(units * 512 - random() % 512);
      ASSERT_EQ(offset.has_value(), gap <= kUnits);
      if (!offset) continue;
      ASSERT_EQ(*offset % 512, 0);
      const std::size_t begin = *offset / 512;
      for (std::size_t unit = begin; unit < begin + units; ++unit) {
        ASSERT_LT(unit, kUnits);
        ASSERT_FALSE(taken[unit]);
        taken[unit] = true;
      }
      live.emplace_back(begin, units);
    }
    ASSERT_EQ(ranges.used_bytes(), static_cast<std::size_t>(std::count(taken.begin(), taken.end(), true)) * 512);
  }
}

TEST(RangeAllocator, TakesAGivenPlaceWhereAllOfItIsFree) {
  RangeAllocator ranges(8 * 512);
  EXPECT_TRUE(ranges.allocate_at(2 * 512, 600));  // two units from the third on
  EXPECT_EQ(ranges.range_bytes(2 * 512), 2 * 512);
  EXPECT_FALSE(ranges.allocate_at(512, 2 * 512));
  EXPECT_FALSE(ranges.allocate_at(3 * 512, 1));
  EXPECT_FALSE(ranges.allocate_at(7 * 512, 2 * 512));
  EXPECT_FALSE(ranges.allocate_at(8 * 512, 1));
  EXPECT_TRUE(ranges.allocate_at(512, 512));
  EXPECT_TRUE(ranges.allocate_at(0, 512));
  EXPECT_TRUE(ranges.allocate_at(4 * 512, 4 * 512));
  EXPECT_EQ(ranges.largest_free_bytes(), 0);
  ranges.release(2 * 512);
  EXPECT_TRUE(ranges.allocate_at(2 * 512, 2 * 512));
  EXPECT_THROW(ranges.allocate_at(100, 1), InvalidArgument);
}

// Against a plain list of which units are taken.
TEST(RangeAllocator, TakesRandomPlacesAsAListOfUnitsWould) {
  constexpr std::size_t kUnits = 40;
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    RangeAllocator ranges(kUnits * 512);
    std::vector<bool> taken(kUnits, false);
    std::vector<std::pair<std::size_t, std::size_t>> live;
    for (int step = 0; step < 200; ++step) {
      if (!live.empty() && random() % 3 == 0) {
        const std::size_t which = random() % live.size();
        const auto [begin, count] = live[which];
        ranges.release(begin * 512);
        std::fill_n(taken.begin() + static_cast<std::ptrdiff_t>(begin), count, false);
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(which));
        continue;
      }
      const std::size_t begin = random() % kUnits, count = 1 + random() % 6;
      const bool fits =
          begin + count <= kUnits &&
          std::none_of(taken.begin() + static_cast<std::ptrdiff_t>(begin),
                       taken.begin() + static_cast<std::ptrdiff_t>(begin + count), [](bool t) { return t; });
      ASSERT_EQ(ranges.allocate_at(begin * 512, count * 512), fits);
      if (!fits) continue;
      std::fill_n(taken.begin() + static_cast<std::ptrdiff_t>(begin), count, true);
      live.emplace_back(begin, count);
    }
    ASSERT_EQ(ranges.used_bytes(), 512 * static_cast<std::size_t>(std::count(taken.begin(), taken.end(), true)));
  }
}

TEST(RangeAllocator, ShrinksARangeFromItsEnd) {
  RangeAllocator ranges(6 * 512);
  const auto a = ranges.allocate(4 * 512);
  const auto b = ranges.allocate(2 * 512);
  ranges.shrink(*a, 600);
  EXPECT_EQ(ranges.range_bytes(*a), 2 * 512);
  EXPECT_EQ(ranges.used_bytes(), 4 * 512);
  EXPECT_EQ(ranges.largest_free_bytes(), 2 * 512);
  ranges.shrink(*a, 2 * 512);
  ranges.shrink(*a, 100 * 512);
  EXPECT_EQ(ranges.range_bytes(*a), 2 * 512);
  ranges.release(*b);
  EXPECT_EQ(ranges.largest_free_bytes(), 4 * 512);
  EXPECT_THROW(ranges.shrink(*b, 0), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
