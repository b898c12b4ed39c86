#include "core/host_device.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "core/error.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

template <typename Work>
double ms_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// Bounds are broad above: a busy machine may be late, but never early.
class HostDeviceTest : public testing::Test {
 protected:
  HostDeviceSettings settings{.count = 2, .link_gbps = 1.0, .link_latency_us = 2000.0, .memory_bytes = 64 * kMiB};
  HostDevice device{0, settings};
  std::vector<char> source = std::vector<char>(20 * kMiB, 'a');
  std::vector<char> target = std::vector<char>(20 * kMiB);
};

TEST_F(HostDeviceTest, TakesLatencyAndBytesOverTheLink) {
  const auto stream = device.create_stream();
  const double ms = ms_of([&] {
    device.copy_from_host(target.data(), source.data(), 20 * kMiB, *stream);
    stream->synchronize();
  });
  EXPECT_GE(ms, 20.97 + 2.0);
  EXPECT_LT(ms, 500);
  EXPECT_EQ(target, source);
}

TEST_F(HostDeviceTest, ChargesReadsInPlaceToTheSameLink) {
  EXPECT_GE(ms_of([&] { device.charge_in_place_read(5 * kMiB); }), 5.24 + 2.0);
  const auto stream = device.create_stream();
  const double ms = ms_of([&] {
    device.copy_from_host(target.data(), source.data(), 20 * kMiB, *stream);
    device.charge_in_place_read(10 * kMiB);
    stream->synchronize();
  });
  EXPECT_GE(ms, 31.4);  // one after the other, whatever the order
}

TEST_F(HostDeviceTest, SharesItsLinkAboutEqually) {
  HostDevice slow(1, {.count = 2, .link_gbps = 0.1});
  const auto stream = slow.create_stream();
  const auto copied = slow.create_event(EventKind::Ordering);
  slow.copy_from_host(target.data(), source.data(), 20 * kMiB, *stream);  // 210 ms
  stream->record(*copied);
  slow.charge_in_place_read(kMiB);  // 10 ms alone, 21 beside the copy
  EXPECT_FALSE(copied->query()) << "the read waited for the whole copy";
  stream->synchronize();
}

TEST_F(HostDeviceTest, CarriesBothDirectionsAtOnceAndPeersForFree) {
  HostDevice slow(1, {.count = 2, .link_gbps = 1e-6});  // a link that would take hours
  const auto stream = slow.create_stream();
  slow.copy_to_peer(device, target.data(), source.data(), 20 * kMiB, *stream);
  stream->synchronize();
  EXPECT_EQ(target, source);
}

TEST_F(HostDeviceTest, HasASettableCapacity) {
  EXPECT_EQ(device.memory_info().total_bytes, 64 * kMiB);
  {
    const auto memory = device.allocate(40 * kMiB);
    EXPECT_EQ(device.memory_info().free_bytes, 24 * kMiB);
    EXPECT_THROW(device.allocate(30 * kMiB), OutOfMemory);
    EXPECT_EQ(device.memory_info().free_bytes, 24 * kMiB);
  }
  EXPECT_EQ(device.memory_info().free_bytes, 64 * kMiB);
}

TEST_F(HostDeviceTest, LetsManyThreadsUseIt) {
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      const auto stream = device.create_stream();
      const auto memory = device.allocate(kMiB / 4);
      device.copy_from_host(memory->data(), source.data() + thread, kMiB / 4, *stream);
      device.synchronize();
      EXPECT_EQ(memory->data()[0], 'a');
    });
  }
}

TEST(HostDevices, AreWhatTheSettingsSay) {
  set_host_devices({.count = 2, .link_gbps = 8.0, .memory_bytes = kMiB});
  EXPECT_EQ(device_count(Backend::Host), 2);
  const auto before = open_device({Backend::Host, 1});
  EXPECT_EQ(before->memory_info().total_bytes, kMiB);
  EXPECT_THROW(open_device({Backend::Host, 2}), InvalidArgument);
  set_host_devices({});
  EXPECT_EQ(device_count(Backend::Host), 4);
  EXPECT_NE(open_device({Backend::Host, 1}), before);
}

TEST(HostDevices, RefuseSettingsWithoutMeaning) {
  EXPECT_THROW(set_host_devices({.count = 0}), InvalidArgument);
  EXPECT_THROW(set_host_devices({.link_gbps = 0}), InvalidArgument);
  EXPECT_THROW(set_host_devices({.link_gbps = -1}), InvalidArgument);
  EXPECT_THROW(set_host_devices({.link_latency_us = -1}), InvalidArgument);
  EXPECT_THROW(set_host_devices({.memory_bytes = 0}), InvalidArgument);
  EXPECT_EQ(host_device_settings().count, 4);
}

TEST(HostDevice, HasNoGraphs) {
  EXPECT_THROW(open_device({Backend::Host, 0})->instantiate(nullptr, nullptr), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
