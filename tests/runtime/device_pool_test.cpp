#include "runtime/device_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>

#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

class DevicePoolTest : public EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, DevicePoolTest, every_backend(), backend_name);

TEST_P(DevicePoolTest, KeepsMemoryForTheNext) {
  DevicePool pool(open());
  char* first = nullptr;
  {
    const DeviceBlock block = pool.allocate(3 * kMiB);
    first = block.data();
    EXPECT_EQ(block.size_bytes(), 3 * kMiB);
    EXPECT_EQ(pool.stats().reserved_bytes, 4 * kMiB);
  }
  EXPECT_EQ(pool.stats().used_bytes, 0);
  const DeviceBlock again = pool.allocate(3 * kMiB);
  EXPECT_EQ(again.data(), first);
  const DeviceBlock beside = pool.allocate(kMiB);
  EXPECT_EQ(beside.data(), first + 3 * kMiB);
  EXPECT_EQ(pool.stats().segments, 1);
}

TEST_P(DevicePoolTest, HandsOverTheLastUse) {
  use_slow_links();
  const auto device = open();
  DevicePool pool(device);
  const PinnedBlock source = pinned_pattern(16 * kMiB, 1);
  const auto stream = device->create_stream();
  const std::shared_ptr<Event> used = device->create_event();
  {
    DeviceBlock block = pool.allocate(16 * kMiB);
    EXPECT_TRUE(block.last_uses().empty());
    device->copy_from_host(block.data(), source.data(), 16 * kMiB, *stream);
    stream->record(*used);
    block.set_last_use(used);
  }
  {
    const DeviceBlock part = pool.allocate(kMiB);
    ASSERT_EQ(part.last_uses().size(), 1);
    EXPECT_EQ(part.last_uses()[0], used);
  }
  const DeviceBlock next = pool.allocate(16 * kMiB);
  ASSERT_EQ(next.last_uses().size(), 1);  // the part did not wait for it
  stream->synchronize();
  const DeviceBlock other = pool.allocate(kMiB);
  EXPECT_TRUE(other.last_uses().empty());
}

TEST_P(DevicePoolTest, ForgetsUsesThatAreOver) {
  const auto device = open();
  DevicePool pool(device);
  const auto stream = device->create_stream();
  const std::shared_ptr<Event> used = device->create_event();
  {
    DeviceBlock block = pool.allocate(kMiB);
    stream->record(*used);
    block.set_last_use(used);
  }
  stream->synchronize();
  EXPECT_TRUE(pool.allocate(kMiB).last_uses().empty());
  EXPECT_EQ(used.use_count(), 1);
}

TEST_P(DevicePoolTest, KeepsToItsBudget) {
  DevicePool pool(open(), 8 * kMiB);
  DeviceBlock a = pool.allocate(3 * kMiB);
  const DeviceBlock b = pool.allocate(3 * kMiB);
  try {
    pool.allocate(3 * kMiB);
    FAIL() << "the budget was passed";
  } catch (const OutOfMemory& error) {
    EXPECT_NE(error.message().find("for 3.0 MiB: 6.0 MiB used of 8.0 MiB reserved, budget 8.0 MiB"), std::string::npos)
        << error.message();
  }
  a = {};
  const DeviceBlock c = pool.allocate(4 * kMiB);  // in the place of a's segment
  EXPECT_LE(pool.stats().reserved_bytes, 8 * kMiB);
  pool.set_budget(0);
  EXPECT_EQ(pool.allocate(16 * kMiB).size_bytes(), 16 * kMiB);
}

TEST_P(DevicePoolTest, ReturnsEmptySegmentsToTheDevice) {
  const auto device = open();
  DevicePool pool(device);
  DeviceBlock kept = pool.allocate(kMiB);
  pool.allocate(64 * kMiB);
  EXPECT_EQ(pool.stats().segments, 2);
  pool.trim();
  EXPECT_EQ(pool.stats().segments, 1);
  EXPECT_EQ(pool.stats().reserved_bytes, 2 * kMiB);
}

TEST_P(DevicePoolTest, SaysSoWhenTheDeviceIsFull) {
  const auto device = open();
  DevicePool pool(device);
  EXPECT_THROW(pool.allocate(device->memory_info().total_bytes + kMiB), OutOfMemory);
  EXPECT_THROW(pool.allocate(static_cast<std::size_t>(-1)), OutOfMemory);
  EXPECT_EQ(pool.stats().segments, 0);
}

TEST_P(DevicePoolTest, LivesAsLongAsItsBlocks) {
  DeviceBlock block;
  {
    DevicePool pool(open());
    block = pool.allocate(kMiB);
  }
  fill_now(*open(), block.data(), 0, kMiB);
  DeviceBlock moved = std::move(block);
  EXPECT_EQ(block.data(), nullptr);
  EXPECT_EQ(block.size_bytes(), 0);
  EXPECT_TRUE(block.last_uses().empty());
  EXPECT_THROW(block.set_last_use(nullptr), InvalidArgument);
  EXPECT_NE(moved.data(), nullptr);
}

TEST(DevicePool, NeverGivesMemoryToTwoBlocks) {
  DevicePool pool(open_device({Backend::Host, 0}), 24 * kMiB, kMiB);
  std::mt19937 random(3);
  std::map<int, DeviceBlock> live;
  for (int step = 0; step < 2000; ++step) {
    if (live.size() > 15 || (!live.empty() && random() % 2 == 0)) {
      const auto victim = std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
      for (std::size_t i = 0; i < victim->second.size_bytes(); i += 511) {
        ASSERT_EQ(victim->second.data()[i], static_cast<char>(victim->first % 127));
      }
      live.erase(victim);
    } else {
      DeviceBlock block = pool.allocate(random() % (kMiB / 2));
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % 512, 0);
      std::memset(block.data(), step % 127, block.size_bytes());
      live.emplace(step, std::move(block));
    }
  }
  live.clear();
  EXPECT_EQ(pool.stats().used_bytes, 0);
}

TEST(DevicePool, IsThreadSafe) {
  DevicePool pool(open_device({Backend::Host, 0}));
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([pool, thread]() mutable {
      for (int i = 0; i < 100; ++i) {
        const DeviceBlock block = pool.allocate(10000);
        std::memset(block.data(), thread, block.size_bytes());
      }
    });
  }
}

TEST_P(DevicePoolTest, GivesAnAddressAgainWhileItIsFree) {
  DevicePool pool(open());
  char* first = nullptr;
  {
    const DeviceBlock block = pool.allocate(kMiB);
    first = block.data();
    EXPECT_FALSE(pool.allocate_at(first, kMiB));
  }
  const auto again = pool.allocate_at(first + 4096, kMiB / 2);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->data(), first + 4096);
  EXPECT_FALSE(pool.allocate_at(first, kMiB));
  EXPECT_TRUE(pool.allocate_at(first, 4096));
  EXPECT_FALSE(pool.allocate_at(nullptr, 1));
}

TEST_P(DevicePoolTest, KeepsAHeldAddressUntilThereIsNoOtherWay) {
  DevicePool pool(open(), 4 * kMiB);
  char* const first = pool.allocate(2 * kMiB).data();
  std::shared_ptr<const void> hold = pool.hold(first);
  pool.trim();
  EXPECT_EQ(pool.stats().reserved_bytes, 2 * kMiB);
  EXPECT_TRUE(pool.allocate_at(first, 2 * kMiB));
  EXPECT_EQ(pool.hold(first - 1), nullptr);
  const DeviceBlock all = pool.allocate(4 * kMiB);  // the budget has room for nothing else
  EXPECT_EQ(all.size_bytes(), 4 * kMiB);
  hold.reset();
}

TEST_P(DevicePoolTest, GivesWhoComesBackMemoryOfHisOwnWhileThereIsSome) {
  DevicePool pool(open(), 4 * kMiB, kMiB);
  std::vector<std::shared_ptr<const void>> holds;
  std::set<char*> homes;
  for (const std::size_t bytes : {2 * kMiB, kMiB, kMiB, kMiB / 2, kMiB / 2, 2 * kMiB}) {
    char* const home = pool.allocate(bytes).data();  // given back at once
    homes.insert(home);
    holds.push_back(pool.hold(home));
  }
  // The first three fill the budget; the next two share what fewest hold and fits best, the last what is large enough.
  EXPECT_EQ(homes.size(), 3);
  EXPECT_NE(holds[3], holds[4]);
  EXPECT_EQ(holds[5], holds[0]);
  EXPECT_EQ(pool.stats().allocations, 3);
}

TEST_P(DevicePoolTest, CountsWhatItTakesFromTheDevice) {
  DevicePool pool(open());
  for (int i = 0; i < 3; ++i) pool.allocate(kMiB);
  EXPECT_EQ(pool.stats().allocations, 1);
  pool.trim();
  pool.allocate(kMiB);
  EXPECT_EQ(pool.stats().allocations, 2);
}

TEST_P(DevicePoolTest, HoldsNoLongerThanAsked) {
  DevicePool pool(open());
  pool.hold(pool.allocate(kMiB).data());
  pool.trim();
  EXPECT_EQ(pool.stats().reserved_bytes, 0);
}

TEST_P(DevicePoolTest, CountsWhatOthersTakeOfTheBudget) {
  DevicePool pool(open(), 4 * kMiB);
  std::shared_ptr<const void> charge = pool.charge(3 * kMiB);
  EXPECT_EQ(pool.stats().charged_bytes, 3 * kMiB);
  EXPECT_THROW(pool.allocate(2 * kMiB), OutOfMemory);
  EXPECT_NO_THROW(pool.allocate(kMiB));
  charge.reset();
  EXPECT_EQ(pool.stats().charged_bytes, 0);
  EXPECT_NO_THROW(pool.allocate(4 * kMiB));
}

TEST_P(DevicePoolTest, GivesHeldMemoryUpOnlyIfAskedTo) {
  DevicePool pool(open(), 4 * kMiB);
  const std::shared_ptr<const void> hold = pool.hold(pool.allocate(2 * kMiB).data());
  EXPECT_THROW(pool.allocate(4 * kMiB, /*even_held=*/false), OutOfMemory);
  EXPECT_EQ(pool.stats().reserved_bytes, 2 * kMiB);
  EXPECT_NO_THROW(pool.allocate(4 * kMiB, /*even_held=*/true));
}

}  // namespace
}  // namespace deepplan
