#include "runtime/residency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "core/error.h"
#include "core/pinned_arena.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

struct ResidencyTest : testing::Test {
  std::shared_ptr<Device> device = open_slow_device();
  DevicePool pool{device, 8 * kMiB};
  Residency residency{pool};

  // Its copies are still on their way when a busy test machine gets round to looking.
  static std::shared_ptr<Device> open_slow_device() {
    set_host_devices({.link_gbps = 0.1});
    auto device = open_device({Backend::Host, 0});
    set_host_devices({});
    return device;
  }

  void load(const std::string& model, std::size_t bytes = 2 * kMiB) { residency.acquire(model, bytes).mark_loaded(); }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const ResidentModel& model : residency.list()) all.push_back(model.model);
    return all;
  }
};

TEST_F(ResidencyTest, IsColdOnceAndWarmThereafter) {
  char* data = nullptr;
  {
    ResidencyLease lease = residency.acquire("a", 2 * kMiB);
    EXPECT_FALSE(lease.was_loaded());
    data = lease.data();
    std::memset(data, 1, 2 * kMiB);
    lease.mark_loaded();
    EXPECT_FALSE(lease.was_loaded());
    EXPECT_TRUE(residency.list()[0].in_use);
  }
  const ResidencyLease lease = residency.acquire("a", 2 * kMiB);
  EXPECT_TRUE(lease.was_loaded());
  EXPECT_EQ(lease.data(), data);
  EXPECT_EQ(residency.budget_bytes(), 8 * kMiB);
}

TEST_F(ResidencyTest, DropsAModelThatWasNotLoadedToItsEnd) {
  {
    const ResidencyLease lease = residency.acquire("a", kMiB);
  }
  EXPECT_FALSE(residency.contains("a"));
  EXPECT_EQ(pool.stats().used_bytes, 0);
}

TEST_F(ResidencyTest, EvictsTheLeastRecentlyUsed) {
  for (const char* model : {"a", "b", "c", "d"}) load(model);
  EXPECT_EQ(names(), (std::vector<std::string>{"a", "b", "c", "d"}));
  residency.touch("a");
  residency.touch("unknown");
  load("e");
  EXPECT_EQ(names(), (std::vector<std::string>{"c", "d", "a", "e"}));
  load("f", 4 * kMiB);
  EXPECT_EQ(names(), (std::vector<std::string>{"a", "e", "f"}));
}

TEST_F(ResidencyTest, LeavesPinnedAndLeasedModelsAlone) {
  load("pinned");
  residency.pin("pinned", true);
  const ResidencyLease leased = residency.acquire("leased", 2 * kMiB);
  load("old");
  load("new");
  load("newer");
  EXPECT_EQ(names(), (std::vector<std::string>{"pinned", "leased", "new", "newer"}));
  try {
    load("large", 5 * kMiB);
    FAIL() << "there was no room";
  } catch (const OutOfMemory& error) {
    EXPECT_NE(error.message().find("must stay: leased (2.0 MiB, in use), pinned (2.0 MiB, pinned)"), std::string::npos)
        << error.message();
  }
  EXPECT_EQ(names().size(), 4);  // known beforehand: nothing was evicted
  residency.pin("pinned", false);
  load("large", 5 * kMiB);
  EXPECT_EQ(names(), (std::vector<std::string>{"leased", "large"}));
  EXPECT_THROW(residency.pin("pinned", true), InvalidArgument);
}

TEST_F(ResidencyTest, NamesTheRemedyThatHelps) {
  const auto refusal = [&](std::size_t bytes) {
    try {
      load("large", bytes);
    } catch (const OutOfMemory& error) {
      return error.message();
    }
    return std::string();
  };
  const ResidencyLease leased = residency.acquire("leased", 4 * kMiB);
  EXPECT_NE(refusal(5 * kMiB).find("close other models"), std::string::npos);
  EXPECT_NE(refusal(100 * kMiB).find("it does not fit alone either"), std::string::npos);
}

TEST_F(ResidencyTest, EvictsWhatIsIdleAndNothingElse) {
  load("pinned");
  residency.pin("pinned", true);
  load("idle");
  const ResidencyLease leased = residency.acquire("leased", kMiB);
  residency.evict_idle();
  EXPECT_EQ(names(), (std::vector<std::string>{"pinned", "leased"}));
}

TEST_F(ResidencyTest, EvictsOnRequestUnlessInUse) {
  load("a");
  EXPECT_TRUE(residency.evict("a"));
  EXPECT_FALSE(residency.evict("a"));
  const ResidencyLease lease = residency.acquire("a", kMiB);
  EXPECT_THROW(residency.evict("a"), InvalidArgument);
  EXPECT_THROW(residency.acquire("a", kMiB), InvalidArgument);
}

TEST_F(ResidencyTest, HandsTheLastUseToWhoeverComesNext) {
  const std::shared_ptr<Event> used = device->create_event();
  const PinnedBlock source = process_arena().allocate(8 * kMiB);
  const auto landing = device->allocate(8 * kMiB);
  const auto stream = device->create_stream();
  const auto run_long = [&] {
    for (int i = 0; i < 3; ++i) device->copy_from_host(landing->data(), source.data(), 8 * kMiB, *stream);
    stream->record(*used);
  };
  run_long();
  {
    ResidencyLease lease = residency.acquire("a", 8 * kMiB);
    EXPECT_TRUE(lease.last_uses().empty());
    lease.set_last_use(used);
    lease.mark_loaded();
  }
  {
    EXPECT_EQ(residency.acquire("a", 8 * kMiB).last_uses(), std::vector{used});
  }
  residency.evict("a");
  EXPECT_FALSE(used->query()) << "evicting waited";
  EXPECT_EQ(residency.acquire("b", 8 * kMiB).last_uses(), std::vector{used});
  stream->synchronize();
}

TEST_F(ResidencyTest, GivesAModelOfAnotherSizeNewMemory) {
  load("a", kMiB);
  const ResidencyLease lease = residency.acquire("a", 3 * kMiB);
  EXPECT_FALSE(lease.was_loaded());
  EXPECT_EQ(residency.list()[0].bytes, 3 * kMiB);
}

TEST_F(ResidencyTest, RefusesAnEmptyLease) {
  ResidencyLease lease;
  EXPECT_EQ(lease.data(), nullptr);
  EXPECT_FALSE(lease.was_loaded());
  EXPECT_TRUE(lease.last_uses().empty());
  EXPECT_THROW(lease.mark_loaded(), InvalidArgument);
  EXPECT_THROW(lease.set_last_use(nullptr), InvalidArgument);
}

TEST_F(ResidencyTest, IsThreadSafe) {
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      for (int i = 0; i < 100; ++i) {
        ResidencyLease lease = residency.acquire(std::to_string(thread) + std::to_string(i % 3), kMiB / 2);
        std::memset(lease.data(), thread, kMiB / 2);
        lease.mark_loaded();
      }
    });
  }
}

TEST_F(ResidencyTest, AModelComesBackToItsHome) {
  load("a");
  load("b");
  const char* const home = residency.acquire("a", 2 * kMiB).data();
  residency.evict("a");
  load("c", 2 * kMiB);
  residency.touch("b");
  ASSERT_EQ(residency.acquire("c", 2 * kMiB).data(), home);
  residency.touch("c");
  // "b" was used longer ago, and there is free memory, too; but "c" lies where "a" has to be.
  EXPECT_EQ(residency.acquire("a", 2 * kMiB, home).data(), home);
  EXPECT_FALSE(residency.contains("c"));
  EXPECT_TRUE(residency.contains("b"));
}

TEST_F(ResidencyTest, AModelWhoseHomeIsInUseLiesElsewhere) {
  const ResidencyLease leased = residency.acquire("leased", 2 * kMiB);
  const ResidencyLease other = residency.acquire("other", 2 * kMiB, leased.data());
  EXPECT_NE(other.data(), leased.data());
  load("pinned");
  residency.pin("pinned", true);
  const char* const home = residency.acquire("pinned", 2 * kMiB).data();
  EXPECT_NE(residency.acquire("last", 2 * kMiB, home).data(), home);
  EXPECT_TRUE(residency.contains("pinned"));
}

TEST_F(ResidencyTest, AHomeThatIsGoneIsNoHome) {
  load("a");
  const char* const home = residency.acquire("a", 2 * kMiB).data();
  residency.evict("a");
  pool.trim();
  EXPECT_NE(residency.acquire("a", 2 * kMiB, home).data(), nullptr);
}

TEST_F(ResidencyTest, EvictsBeforeItGivesHomesUp) {
  load("a");
  const char* const home = residency.acquire("a", 2 * kMiB).data();
  const std::shared_ptr<const void> hold = pool.hold(home);
  residency.evict("a");
  load("b", 6 * kMiB);
  load("c", 4 * kMiB);  // there is room for it beside the home once "b" is gone
  EXPECT_FALSE(residency.contains("b"));
  EXPECT_TRUE(pool.allocate_at(home, 2 * kMiB));
}

// As captured models do: each has a home from when it was loaded on, the largest first, and takes some of the budget
// besides. Called in any order, all come home, and nothing is taken from the device or given back any more.
TEST(Residency, ModelsThatTakeTurnsAlwaysComeHome) {
  struct Model {
    std::string name;
    std::size_t bytes;
    char* home = nullptr;
    std::shared_ptr<const void> hold{};
    std::shared_ptr<const void> charge{};
  };
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 draw(seed);
    const auto up_to = [&](std::size_t most) { return std::uniform_int_distribution<std::size_t>(1, most)(draw); };
    std::vector<Model> models;
    std::size_t sum = 0;
    for (std::size_t i = 0; i < 8; ++i) models.push_back({.name = "model " + std::to_string(i), .bytes = up_to(kMiB)});
    for (const Model& model : models) sum += model.bytes;
    std::sort(models.begin(), models.end(), [](const Model& a, const Model& b) { return a.bytes > b.bytes; });
    const std::size_t least = models.front().bytes + 8 * kMiB / 32;  // the largest beside all charges
    DevicePool pool(open_device({Backend::Host, 0}), std::max(least, sum * up_to(10) / 10), kMiB / 8);
    Residency residency(pool);
    for (Model& model : models) {
      {
        ResidencyLease lease = residency.acquire(model.name, model.bytes);
        lease.mark_loaded();
        model.home = lease.data();
      }
      model.hold = pool.hold(model.home);
      model.charge = pool.charge(up_to(kMiB / 32));
      if (up_to(2) == 1) residency.evict(model.name);
    }
    const DevicePoolStats before = pool.stats();
    for (int call = 0; call < 200; ++call) {
      const Model& model = models[up_to(models.size()) - 1];
      ResidencyLease lease = residency.acquire(model.name, model.bytes, model.home);
      lease.mark_loaded();
      ASSERT_EQ(lease.data(), model.home) << "seed " << seed << ", " << model.name;
    }
    EXPECT_EQ(pool.stats().allocations, before.allocations);
    EXPECT_EQ(pool.stats().reserved_bytes, before.reserved_bytes);
  }
}

TEST_F(ResidencyTest, CountsWhatIsChargedToTheBudget) {
  load("a");
  const std::shared_ptr<const void> charge = pool.charge(4 * kMiB);
  EXPECT_THROW(residency.acquire("large", 5 * kMiB), OutOfMemory);
  EXPECT_TRUE(residency.contains("a"));  // it was known beforehand
}

}  // namespace
}  // namespace deepplan
