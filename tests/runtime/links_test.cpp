#include "runtime/links.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

constexpr std::size_t kSlot = std::size_t{64} << 10;

class LinksTest : public EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, LinksTest, every_backend(), backend_name);

TEST_P(LinksTest, BringsBytesOverEveryLink) {
  use_fast_links();
  const int devices = std::min(4, device_count(GetParam()));
  std::vector<std::shared_ptr<Device>> helpers;
  for (int index = 1; index < devices; ++index) helpers.push_back(open(index));
  const auto target = open();
  Links links(target, helpers, {.slots = 2, .slot_bytes = kSlot});
  ASSERT_EQ(links.count(), devices);
  constexpr std::size_t kPieces = 9;  // more than a ring holds
  for (int link = 0; link < links.count(); ++link) {
    EXPECT_EQ(links.device(link).id().index, link);
    const PinnedBlock source = pinned_pattern(kPieces * kSlot, static_cast<unsigned>(link));
    const auto memory = target->allocate(kPieces * kSlot);
    fill_now(*target, memory->data(), 0xff, kPieces * kSlot);
    for (std::size_t at = 0; at < kPieces * kSlot; at += kSlot) {
      links.send(link, memory->data() + at, source.data() + at, kSlot);
    }
    links.send(link, nullptr, nullptr, 0);  // no-op
    links.write_stream(link).synchronize();
    EXPECT_EQ(read_back(*target, memory->data(), kPieces * kSlot), bytes_of(source.data(), kPieces * kSlot));
  }
}

TEST_P(LinksTest, WaitsForWhatWasSentWhenDestroyed) {
  const auto target = open();
  const PinnedBlock source = pinned_pattern(std::size_t{4} << 20, 1);
  const auto memory = target->allocate(source.size_bytes());
  {
    Links links(target, {});
    links.send(0, memory->data(), source.data(), source.size_bytes());
  }
  EXPECT_EQ(read_back(*target, memory->data(), source.size_bytes()), bytes_of(source.data(), source.size_bytes()));
}

TEST_P(LinksTest, RefusesDevicesNamedTwice) {
  EXPECT_THROW(Links(open(), {open()}), InvalidArgument);
  need(2);
  if (IsSkipped()) return;
  EXPECT_THROW(Links(open(), {open(1), open(1)}), InvalidArgument);
}

TEST(Links, RefusesRingsWithoutRoom) {
  const auto target = open_device({Backend::Host, 0});
  const auto helper = open_device({Backend::Host, 1});
  EXPECT_THROW(Links(target, {helper}, {.slots = 0}), InvalidArgument);
  EXPECT_THROW(Links(target, {helper}, {.slot_bytes = 0}), InvalidArgument);
  EXPECT_THROW(Links(target, {helper}, {.slots = 1, .slot_bytes = std::size_t{1} << 50}), OutOfMemory);
  EXPECT_EQ(helper->memory_info().free_bytes, helper->memory_info().total_bytes);
}

TEST(Links, RefusesPiecesLargerThanASlot) {
  Links links(open_device({Backend::Host, 0}), {open_device({Backend::Host, 1})}, {.slot_bytes = 500});
  EXPECT_EQ(links.slot_bytes(), 512);
  EXPECT_THROW(links.send(1, nullptr, nullptr, 513), InvalidArgument);
  EXPECT_THROW(links.device(2), std::out_of_range);
}

}  // namespace
}  // namespace deepplan
