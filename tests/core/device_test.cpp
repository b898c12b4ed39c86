#include "core/device.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 20;

class DeviceTest : public EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, DeviceTest, every_backend(), backend_name);

TEST_P(DeviceTest, CopiesThereAndBack) {
  const auto device = open();
  const PinnedBlock source = pinned_pattern(kBytes, 1);
  const auto memory = device->allocate(kBytes);
  const auto stream = device->create_stream();
  device->fill(memory->data(), 0xff, kBytes, *stream);
  device->copy_from_host(memory->data(), source.data(), kBytes, *stream);
  stream->synchronize();
  EXPECT_EQ(read_back(*device, memory->data(), kBytes), bytes_of(source.data(), kBytes));
}

TEST_P(DeviceTest, FillsMemory) {
  const auto device = open();
  const auto memory = device->allocate(kBytes);
  fill_now(*device, memory->data(), 0xff, kBytes);
  EXPECT_EQ(read_back(*device, memory->data(), kBytes), std::vector<char>(kBytes, '\xff'));
}

TEST_P(DeviceTest, CopiesToItselfAndToAPeer) {
  const auto device = open();
  const PinnedBlock source = pinned_pattern(kBytes, 2);
  const auto from = device->allocate(kBytes);
  const auto stream = device->create_stream();
  device->copy_from_host(from->data(), source.data(), kBytes, *stream);
  for (int index = 0; index < std::min(2, device_count(GetParam())); ++index) {
    const auto peer = open(index);
    if (!device->can_access_peer(*peer)) continue;
    device->enable_peer_access(*peer);
    device->enable_peer_access(*peer);  // again: no-op
    const auto to = peer->allocate(kBytes);
    device->copy_to_peer(*peer, to->data(), from->data(), kBytes, *stream);
    stream->synchronize();
    EXPECT_EQ(read_back(*peer, to->data(), kBytes), bytes_of(source.data(), kBytes));
  }
}

TEST_P(DeviceTest, IgnoresEmptyWork) {
  const auto device = open();
  const auto stream = device->create_stream();
  device->copy_from_host(nullptr, nullptr, 0, *stream);
  device->copy_to_host(nullptr, nullptr, 0, *stream);
  device->copy_to_peer(*device, nullptr, nullptr, 0, *stream);
  device->fill(nullptr, 0, 0, *stream);
  device->charge_in_place_read(0);
  EXPECT_EQ(device->allocate(0)->size_bytes(), 0);
  stream->synchronize();
}

TEST_P(DeviceTest, AlignsMemoryAndCountsIt) {
  const auto device = open();
  const MemoryInfo before = device->memory_info();
  EXPECT_GT(before.free_bytes, 0);
  EXPECT_LE(before.free_bytes, before.total_bytes);
  const auto memory = device->allocate(64 * kBytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory->data()) % 512, 0);
  EXPECT_EQ(memory->device(), device->id());
  EXPECT_LE(device->memory_info().free_bytes, before.free_bytes);
}

TEST_P(DeviceTest, SaysWhatIsFreeWhenMemoryIsShort) {
  const auto device = open();
  const std::size_t before = device->memory_info().free_bytes;
  try {
    device->allocate(device->memory_info().total_bytes + kBytes);
    FAIL() << "more than everything was given out";
  } catch (const OutOfMemory& error) {
    EXPECT_NE(error.message().find("free of"), std::string::npos) << error.message();
  }
  EXPECT_GT(device->memory_info().free_bytes + 64 * kBytes, before);
  EXPECT_EQ(device->allocate(kBytes)->size_bytes(), kBytes);  // goes on
}

TEST_P(DeviceTest, ReadsPinnedMemoryInPlace) {
  const auto device = open();
  const PinnedBlock block = pinned_pattern(kBytes, 3);
  EXPECT_NE(device->in_place_address(block.data() + 4096), nullptr);
  EXPECT_EQ(static_cast<const char*>(device->in_place_address(block.data() + 4096)) -
                static_cast<const char*>(device->in_place_address(block.data())),
            4096);
}

TEST_P(DeviceTest, RefusesStreamsOfOtherDevices) {
  need(2);
  if (IsSkipped()) return;
  const auto device = open(0);
  const auto other = open(1);
  const auto stream = other->create_stream();
  const auto memory = device->allocate(kBytes);
  EXPECT_THROW(device->fill(memory->data(), 0, kBytes, *stream), InvalidArgument);
  EXPECT_THROW(stream->record(*device->create_event()), InvalidArgument);
}

TEST_P(DeviceTest, IsOneObjectWhileHeld) {
  EXPECT_EQ(open().get(), open().get());
  EXPECT_EQ(open()->id(), (DeviceId{GetParam(), 0}));
  EXPECT_FALSE(open()->name().empty());
  EXPECT_THROW(open(device_count(GetParam())), InvalidArgument);
  EXPECT_THROW(open(-1), InvalidArgument);
}

TEST(DeviceCount, SaysWhyThereIsNone) {
  EXPECT_EQ(unavailable_reason(Backend::Host), "");
  EXPECT_EQ(unavailable_reason(Backend::Cuda).empty(), device_count(Backend::Cuda) > 0);
}

}  // namespace
}  // namespace deepplan
