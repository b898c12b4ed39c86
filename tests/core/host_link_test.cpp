#include "core/host_link.h"

#include <gtest/gtest.h>

#include <thread>

namespace deepplan {
namespace {

using std::chrono::microseconds;

TEST(HostLink, BooksOneBehindTheOther) {
  HostLink link(1.0, 10.0);
  const HostLink::TimePoint start{std::chrono::seconds(100)};
  EXPECT_EQ(link.book(1000, start), start + microseconds(1));
  EXPECT_EQ(link.book(1000, start), start + microseconds(2));
  EXPECT_EQ(link.book(1000, start + microseconds(5)), start + microseconds(6));  // stood idle in between
}

TEST(HostLink, GoesAtItsRate) {
  HostLink link(4.0, 0.0);
  const HostLink::TimePoint start{std::chrono::seconds(100)};
  EXPECT_EQ(link.book(4000000, start), start + microseconds(1000));
}

TEST(HostLink, MovesEveryByteOnceAndNeverEarly) {
  HostLink link(1.0, 500.0);
  constexpr std::size_t kBytes = 1000001;
  const auto start = HostLink::Clock::now();
  std::size_t moved = 0;
  const auto end = link.move(kBytes, start, [&](std::size_t offset, std::size_t chunk) {
    EXPECT_EQ(offset, moved);
    moved += chunk;
    EXPECT_GE(HostLink::Clock::now(), start + microseconds(500) + std::chrono::nanoseconds(moved));
  });
  EXPECT_EQ(moved, kBytes);
  EXPECT_GE(end, start + microseconds(1500));
  EXPECT_LE(end, HostLink::Clock::now());
}

TEST(HostLink, MakesUpForMoversThatAreLate) {
  HostLink link(1.0, 0.0);
  const auto start = HostLink::Clock::now();
  const auto end = link.move(1 << 20, start, [](std::size_t, std::size_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // four times as long as a chunk is on the link
  });
  EXPECT_LT(end, start + microseconds(1100));
}

}  // namespace
}  // namespace deepplan
