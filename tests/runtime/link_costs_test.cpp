#include "runtime/link_costs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

class LinkCostsTest : public EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, LinkCostsTest, every_backend(), backend_name);

TEST_P(LinkCostsTest, AreThoseOfEveryLinkInUse) {
  const int available = std::min(2, device_count(GetParam()));
  std::vector<std::shared_ptr<Device>> helpers;
  if (available == 2) helpers.push_back(open(1));
  Links links(open(), helpers);
  PinnedArena arena;
  for (int count = 1; count <= available; ++count) {
    const std::vector<LinkCost> costs = measure_link_costs(links, count, 8 * kMiB, arena, 3);
    ASSERT_EQ(costs.size(), static_cast<std::size_t>(count));
    for (const LinkCost& cost : costs) {
      EXPECT_GT(cost.latency_ms, 0.0);
      EXPECT_LT(cost.latency_ms, 50.0);
      EXPECT_GT(cost.gbps, 0.01);
      EXPECT_LT(cost.gbps, 1000.0);
    }
  }
}

TEST(LinkCosts, AreAsTheHostDevicesWereSet) {
  set_host_devices({.link_gbps = 0.1, .link_latency_us = 2000.0});
  {
    Links links(open_device({Backend::Host, 0}), {open_device({Backend::Host, 1})});
    PinnedArena arena;
    for (const LinkCost& cost : measure_link_costs(links, 2, 16 * kMiB, arena, 1)) {
      EXPECT_GT(cost.latency_ms, 1.9);
      EXPECT_LT(cost.latency_ms, 4.0);
      EXPECT_GT(cost.gbps, 0.05);
      EXPECT_LT(cost.gbps, 0.11);
    }
  }
  set_host_devices({});
}

TEST(LinkCosts, NeedLinksBytesAndRepeats) {
  Links links(open_device({Backend::Host, 0}), {});
  PinnedArena arena;
  EXPECT_THROW(measure_link_costs(links, 0, kMiB, arena, 1), InvalidArgument);
  EXPECT_THROW(measure_link_costs(links, 2, kMiB, arena, 1), InvalidArgument);
  EXPECT_THROW(measure_link_costs(links, 1, 1024, arena, 1), InvalidArgument);
  EXPECT_THROW(measure_link_costs(links, 1, kMiB, arena, 0), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
