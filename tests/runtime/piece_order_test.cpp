#include "runtime/piece_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace deepplan {
namespace {

constexpr std::size_t kKiB = 1024;

std::vector<int> groups_of(const std::vector<Piece>& pieces) {
  std::vector<int> groups;
  for (const Piece& piece : pieces) groups.push_back(piece.group);
  return groups;
}

// As the loader makes them: whole groups on link 0, at most `slot_bytes` on a helper.
std::vector<Piece> order(const std::vector<Extent>& extents, const std::vector<int>& route, int links,
                         std::size_t slot_bytes) {
  std::vector<std::vector<Piece>> groups;
  for (std::size_t group = 0; group < extents.size(); ++group) {
    auto& pieces = groups.emplace_back();
    std::size_t offset = extents[group].offset;
    for (const std::size_t bytes : even_shares(extents[group].bytes, route[group] == 0 ? SIZE_MAX / 2 : slot_bytes)) {
      pieces.push_back({.group = static_cast<int>(group), .offset = offset, .bytes = bytes, .crossing_bytes = bytes});
      offset += bytes;
    }
    pieces.front().first = pieces.back().last = true;
  }
  return order_pieces(groups, route, links);
}

TEST(EvenShares, AreAboutEqualAndAligned) {
  EXPECT_EQ(even_shares(9 * kKiB, 4 * kKiB), std::vector<std::size_t>(3, 3 * kKiB));
  EXPECT_EQ(even_shares(9 * kKiB + 1, 4 * kKiB), (std::vector<std::size_t>{3584, 3584, 2049}));
  EXPECT_EQ(even_shares(100, 512), std::vector<std::size_t>{100});
  EXPECT_EQ(even_shares(0, 512), std::vector<std::size_t>{0});
}

TEST(PieceOrder, KeepsTheLinkWithFewestBytesFed) {
  // Link 0: groups 0 (8 KiB) and 2; link 1: group 1 in four pieces of 2 KiB.
  const auto pieces = order({{0, 8 * kKiB}, {8 * kKiB, 8 * kKiB}, {16 * kKiB, kKiB}}, {0, 1, 0}, 2, 2 * kKiB);
  EXPECT_EQ(groups_of(pieces), (std::vector{0, 1, 1, 1, 1, 2}));
}

TEST(PieceOrder, GivesAnEmptyGroupAPieceToo) {
  const auto pieces = order({{0, 0}, {0, 0}}, {0, 1}, 2, 512);
  ASSERT_EQ(pieces.size(), 2);
  EXPECT_TRUE(pieces[1].first && pieces[1].last);
  EXPECT_EQ(pieces[1].bytes, 0);
}

TEST(PieceOrder, CoversEveryGroupOnceInOrderOnEachLink) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const int links = 1 + static_cast<int>(random() % 4);
    const std::size_t slot = 512 * (1 + random() % 8);
    std::vector<Extent> groups;
    std::vector<int> route;
    std::size_t end = 0;
    for (unsigned count = random() % 20; count > 0; --count) {
      groups.push_back({end, 512 * (random() % 40)});
      end = groups.back().end();
      route.push_back(static_cast<int>(random()) % links);
      if (route.back() < 0) route.back() += links;
    }
    std::vector<std::size_t> arrived(groups.size(), 0);
    std::vector<int> last_on_link(static_cast<std::size_t>(links), -1);
    for (const Piece& piece : order(groups, route, links, slot)) {
      const auto group = static_cast<std::size_t>(piece.group);
      const auto link = static_cast<std::size_t>(route[group]);
      ASSERT_GE(piece.group, last_on_link[link]);
      last_on_link[link] = piece.group;
      ASSERT_EQ(piece.offset, groups[group].offset + arrived[group]);
      ASSERT_EQ(piece.offset % 512, 0);
      ASSERT_EQ(piece.first, arrived[group] == 0);
      if (link > 0) {
        ASSERT_LE(piece.bytes, slot);
      }
      arrived[group] += piece.bytes;
      ASSERT_EQ(piece.last, arrived[group] == groups[group].bytes);
    }
    for (std::size_t group = 0; group < groups.size(); ++group) ASSERT_EQ(arrived[group], groups[group].bytes);
  }
}

}  // namespace
}  // namespace deepplan
