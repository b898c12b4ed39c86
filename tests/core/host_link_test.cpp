#include "core/host_link.h"

#include <gtest/gtest.h>

namespace deepplan {
namespace {

using std::chrono::microseconds;

TEST(HostLink, BooksOneBehindTheOther) {
  HostLink link(1.0, 10.0);
  const HostLink::TimePoint start{std::chrono::seconds(100)};
  EXPECT_EQ(link.book(1000, start), start + microseconds(1));
  EXPECT_EQ(link.book(1000, start), start + microseconds(2));
  EXPECT_EQ(link.book(1000, start + microseconds(5)), start + microseconds(6));  // stood idle in between
  EXPECT_EQ(link.latency(), microseconds(10));
}

TEST(HostLink, GoesAtItsRate) {
  HostLink link(4.0, 0.0);
  const HostLink::TimePoint start{std::chrono::seconds(100)};
  EXPECT_EQ(link.book(4000000, start), start + microseconds(1000));
}

TEST(WaitUntil, NeverReturnsEarly) {
  for (const int us : {-5, 0, 20, 300}) {
    const auto until = HostLink::Clock::now() + microseconds(us);
    wait_until(until);
    EXPECT_GE(HostLink::Clock::now(), until);
  }
}

}  // namespace
}  // namespace deepplan
