#include "runtime/parallel_copy.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

namespace deepplan {
namespace {

std::vector<char> random_bytes(std::size_t count) {
  std::vector<char> bytes(count);
  std::minstd_rand random(7);
  for (char& byte : bytes) byte = static_cast<char>(random() >> 16);
  return bytes;
}

TEST(ParallelCopy, CopiesRangesOfEverySizeToTheirPlaces) {
  const std::vector<std::size_t> sizes = {0, 1, 511, std::size_t{4} << 20, (std::size_t{9} << 20) + 3, 0, 4096};
  const std::vector<char> source = random_bytes(std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}));
  constexpr std::size_t kGap = 64;  // which must stay as it is
  std::vector<char> destination(source.size() + kGap * sizes.size(), 'x');
  std::vector<char> expected = destination;
  std::vector<CopyRange> ranges;
  std::size_t from = 0;
  std::size_t to = destination.size();  // in the reverse order
  for (const std::size_t bytes : sizes) {
    to -= bytes + kGap;
    ranges.push_back({destination.data() + to, source.data() + from, bytes});
    std::copy_n(source.data() + from, bytes, expected.data() + to);
    from += bytes;
  }
  parallel_copy(ranges);
  EXPECT_EQ(destination, expected);
}

TEST(ParallelCopy, NothingIsCopiedOfNothing) {
  parallel_copy({});
  parallel_copy({{nullptr, nullptr, 0}});
}

TEST(ParallelCopy, ManySmallRangesAreCopied) {
  const std::vector<char> source = random_bytes(std::size_t{6} << 20);
  std::vector<char> destination(source.size());
  std::vector<CopyRange> ranges;
  for (std::size_t at = 0; at < source.size(); at += 1000) {
    ranges.push_back({destination.data() + at, source.data() + at, std::min<std::size_t>(1000, source.size() - at)});
  }
  parallel_copy(ranges);
  EXPECT_EQ(destination, source);
}

}  // namespace
}  // namespace deepplan
