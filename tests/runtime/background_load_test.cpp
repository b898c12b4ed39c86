#include "runtime/background_load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

class BackgroundLoadTest : public EveryBackend {
 protected:
  // How long each of five uses of the device's link takes: in-place reads of a host device, which alone charges for
  // them here, and copies on CUDA.
  std::vector<double> uses_ms(Device& device, const PinnedBlock& pinned) const {
    const auto memory = device.allocate(pinned.size_bytes());
    const auto stream = device.create_stream();
    std::vector<double> taken;
    for (int use = 0; use < 5; ++use) {
      const auto started = std::chrono::steady_clock::now();
      if (GetParam() == Backend::Host) {
        device.charge_in_place_read(pinned.size_bytes());
      } else {
        device.copy_from_host(memory->data(), pinned.data(), pinned.size_bytes(), *stream);
        stream->synchronize();
      }
      taken.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started).count());
    }
    std::sort(taken.begin(), taken.end());
    return taken;
  }
};
INSTANTIATE_TEST_SUITE_P(, BackgroundLoadTest, every_backend(), backend_name);

TEST_P(BackgroundLoadTest, SlowsWhatElseUsesTheLink) {
  use_slow_links();
  const auto device = open();
  const PinnedBlock pinned = pinned_pattern(4 * kMiB, 1);
  uses_ms(*device, pinned);
  const double alone_ms = uses_ms(*device, pinned).front();
  double beside_ms = 0;
  {
    const BackgroundLoad load(*device, pinned.data(), pinned.size_bytes());
    uses_ms(*device, pinned);  // by now the load has begun
    beside_ms = uses_ms(*device, pinned)[2];
  }
  EXPECT_GT(beside_ms, 1.3 * alone_ms);
}

TEST_P(BackgroundLoadTest, EndsLongBeforeAllIsCopiedAndGivesItsMemoryBack) {
  set_host_devices({.link_gbps = 0.02});  // 0.2 s for each of the two copies under way, 3.4 s for all
  const auto device = open();
  const PinnedBlock pinned = process_arena().allocate(64 * kMiB);
  const std::size_t free_bytes = device->memory_info().free_bytes;
  const auto started = std::chrono::steady_clock::now();
  {
    const BackgroundLoad load(*device, pinned.data(), pinned.size_bytes());
    EXPECT_LT(device->memory_info().free_bytes, free_bytes);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // both copies are under way
  }
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(2));
  if (GetParam() == Backend::Host) {  // others may use a GPU's memory meanwhile
    EXPECT_EQ(device->memory_info().free_bytes, free_bytes);
  }
}

TEST_P(BackgroundLoadTest, LeavesWhatItReadsToOthers) {
  use_fast_links();
  const auto device = open();
  const PinnedBlock pinned = pinned_pattern(kMiB + 1, 2);
  const std::vector<char> before = bytes_of(pinned.data(), pinned.size_bytes());
  const auto memory = device->allocate(pinned.size_bytes());
  const auto stream = device->create_stream();
  {
    const BackgroundLoad load(*device, pinned.data(), pinned.size_bytes());
    for (int copy = 0; copy < 10; ++copy) {
      fill_now(*device, memory->data(), 0xff, pinned.size_bytes());
      device->copy_from_host(memory->data(), pinned.data(), pinned.size_bytes(), *stream);
      stream->synchronize();
    }
  }
  EXPECT_EQ(read_back(*device, memory->data(), pinned.size_bytes()), before);
  EXPECT_EQ(bytes_of(pinned.data(), pinned.size_bytes()), before);
}

TEST_P(BackgroundLoadTest, HasNothingToDoForAModelWithoutWeights) {
  const auto device = open();
  const BackgroundLoad load(*device, nullptr, 0);
}

TEST(BackgroundLoad, RefusesADeviceWithoutRoom) {
  set_host_devices({.memory_bytes = kMiB});
  const auto device = open_device({Backend::Host, 0});
  const PinnedBlock pinned = pinned_pattern(2 * kMiB, 3);
  EXPECT_THROW(BackgroundLoad(*device, pinned.data(), pinned.size_bytes()), OutOfMemory);
  set_host_devices({});
}

}  // namespace
}  // namespace deepplan
