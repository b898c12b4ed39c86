#include "core/host_queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace deepplan {
namespace {

TEST(HostQueue, WorksInOrderAndToItsEnd) {
  std::vector<int> done;
  {
    HostQueue queue;
    for (int i = 0; i < 1000; ++i) {
      queue.push([&done, i](HostLink::TimePoint ready) {
        done.push_back(i);
        return ready;
      });
    }
  }
  ASSERT_EQ(done.size(), 1000);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(done[static_cast<std::size_t>(i)], i);
}

TEST(HostQueue, MarksWhatWasGivenSoFar) {
  HostQueue queue;
  int done = 0;
  queue.push([&done](HostLink::TimePoint ready) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    done = 1;
    return ready;
  });
  const auto point = queue.mark();
  point->wait();
  EXPECT_TRUE(point->reached());
  EXPECT_EQ(done, 1);
  EXPECT_LE(point->time(), HostLink::Clock::now());
}

TEST(HostQueue, StartsTheLinkTimeOfOneWorkWhereTheLastEnded) {
  HostQueue queue;
  const auto later = HostLink::Clock::now() + std::chrono::seconds(5);
  HostLink::TimePoint seen{};
  queue.push([later](HostLink::TimePoint) { return later; });
  queue.push([&seen](HostLink::TimePoint ready) { return seen = ready; });
  queue.mark()->wait();
  EXPECT_EQ(seen, later);
}

}  // namespace
}  // namespace deepplan
