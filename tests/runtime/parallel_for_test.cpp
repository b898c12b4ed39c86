#include "runtime/parallel_for.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace deepplan {
namespace {

TEST(ParallelFor, DoesEachOnce) {
  for (const std::size_t count : {0UL, 1UL, 1000UL}) {
    std::vector<std::atomic<int>> done(count);
    parallel_for(count, 4, [&](std::size_t i) { ++done[i]; });
    for (const auto& times : done) EXPECT_EQ(times, 1);
  }
}

TEST(ParallelFor, ThrowsWhatWorkThrows) {
  std::atomic<int> done{0};
  const auto work = [&](std::size_t i) {
    if (i == 3) throw InvalidArgument("made to fail");
    ++done;
  };
  EXPECT_THROW(parallel_for(100, 4, work), InvalidArgument);
  EXPECT_LT(done, 100);
}

}  // namespace
}  // namespace deepplan
