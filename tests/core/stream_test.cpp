#include <gtest/gtest.h>

#include <vector>

#include "core/device.h"
#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

constexpr std::size_t kBytes = std::size_t{32} << 20;  // long enough on any link to be overtaken
constexpr std::size_t kTail = 4096;                    // the last bytes to arrive

class StreamTest : public EveryBackend {
 protected:
  // Loads a pattern on one stream and reads its tail on another: with or without waiting.
  std::vector<char> read_tail_behind_a_load(bool wait) {
    use_slow_links();
    const auto device = open();
    const PinnedBlock source = pinned_pattern(kBytes, 5);
    const PinnedBlock landing = process_arena().allocate(kTail);
    const auto memory = device->allocate(kBytes);
    fill_now(*device, memory->data(), 0xff, kBytes);
    const auto load = device->create_stream();
    const auto read = device->create_stream();
    const auto loaded = device->create_event();
    device->copy_from_host(memory->data(), source.data(), kBytes, *load);
    load->record(*loaded);
    if (wait) read->wait(*loaded);
    device->copy_to_host(landing.data(), memory->data() + kBytes - kTail, kTail, *read);
    read->synchronize();
    std::vector<char> seen = bytes_of(landing.data(), kTail);
    load->synchronize();
    return seen;
  }
  static std::vector<char> pattern_tail() { return bytes_of(pinned_pattern(kBytes, 5).data() + kBytes - kTail, kTail); }
};
INSTANTIATE_TEST_SUITE_P(, StreamTest, every_backend(), backend_name);

TEST_P(StreamTest, WaitsForAnEventOfAnotherStream) { EXPECT_EQ(read_tail_behind_a_load(true), pattern_tail()); }

TEST_P(StreamTest, SeesTheFillBytesWhenAWaitIsDropped) {
  DEEPPLAN_SKIP_DELIBERATE_RACE();
  EXPECT_EQ(read_tail_behind_a_load(false), std::vector<char>(kTail, '\xff'));
}

TEST_P(StreamTest, DoesNotWaitForAnEventNeverRecorded) {
  const auto device = open();
  const auto event = device->create_event();
  EXPECT_TRUE(event->query());
  event->synchronize();
  const auto stream = device->create_stream();
  stream->wait(*event);
  stream->synchronize();
  device->borrow_stream(nullptr)->wait(*event);
}

TEST_P(StreamTest, KeepsWaitersAtThePointTheyMet) {
  use_slow_links();
  const auto device = open();
  const PinnedBlock source = pinned_pattern(kBytes, 6);
  const auto memory = device->allocate(kBytes);
  const auto first = device->create_stream();
  const auto second = device->create_stream();
  const auto event = device->create_event();
  first->record(*event);
  second->wait(*event);  // the point before the copy
  device->copy_from_host(memory->data(), source.data(), kBytes, *first);
  first->record(*event);
  second->synchronize();
  EXPECT_FALSE(event->query());
  event->synchronize();
  EXPECT_TRUE(event->query());
  EXPECT_EQ(read_back(*device, memory->data(), kBytes), bytes_of(source.data(), kBytes));
}

TEST_P(StreamTest, TimesWhatLiesBetweenEvents) {
  const auto device = open();
  const PinnedBlock source = pinned_pattern(kBytes, 7);
  const auto memory = device->allocate(kBytes);
  const auto stream = device->create_stream();
  const auto start = device->create_event(EventKind::Timed);
  const auto end = device->create_event(EventKind::Timed);
  EXPECT_THROW(end->elapsed_ms_since(*start), InvalidArgument);
  stream->record(*start);
  device->copy_from_host(memory->data(), source.data(), kBytes, *stream);
  stream->record(*end);
  EXPECT_THROW(end->elapsed_ms_since(*start), InvalidArgument);
  stream->synchronize();
  EXPECT_GT(end->elapsed_ms_since(*start), 0.1);  // no link carries 300 GB/s
  EXPECT_LT(start->elapsed_ms_since(*end), 0);
  const auto untimed = device->create_event();
  stream->record(*untimed);
  untimed->synchronize();
  EXPECT_THROW(untimed->elapsed_ms_since(*start), InvalidArgument);
}

TEST_P(StreamTest, OrdersABorrowedStreamLikeAnyOther) {
  const auto device = open();
  const PinnedBlock source = pinned_pattern(kBytes, 8);
  const PinnedBlock landing = process_arena().allocate(kBytes);
  const auto memory = device->allocate(kBytes);
  const auto load = device->create_stream();
  const auto borrowed = device->borrow_stream(nullptr);
  EXPECT_EQ(borrowed->native(), nullptr);
  const auto loaded = device->create_event();
  device->copy_from_host(memory->data(), source.data(), kBytes, *load);
  load->record(*loaded);
  borrowed->wait(*loaded);
  device->copy_to_host(landing.data(), memory->data(), kBytes, *borrowed);
  const auto done = device->create_event();
  borrowed->record(*done);
  done->synchronize();
  EXPECT_EQ(bytes_of(landing.data(), kBytes), bytes_of(source.data(), kBytes));
}

TEST_P(StreamTest, FinishesItsWorkWhenDestroyed) {
  const auto device = open();
  const PinnedBlock source = pinned_pattern(kBytes, 9);
  const auto memory = device->allocate(kBytes);
  device->copy_from_host(memory->data(), source.data(), kBytes, *device->create_stream());
  device->synchronize();
  EXPECT_EQ(read_back(*device, memory->data(), kBytes), bytes_of(source.data(), kBytes));
}

}  // namespace
}  // namespace deepplan
