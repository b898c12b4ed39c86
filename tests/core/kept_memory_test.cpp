#include "core/kept_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "core/ended_process.h"
#include "core/error.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

struct KeptMemoryTest : testing::Test {
  int file = memfd_create("test", MFD_CLOEXEC);
  ~KeptMemoryTest() override { close(file); }

  // What the system holds for it.
  std::size_t held_bytes() const {
    struct stat status{};
    fstat(file, &status);
    return static_cast<std::size_t>(status.st_blocks) * 512;
  }
  static void use(PinnedArena& arena, const std::shared_ptr<KeptMemory>& memory) {
    arena.use([memory](std::size_t bytes) { return memory->append(bytes); },
              [memory](std::size_t at, std::size_t bytes) { return memory->attach(at, bytes); });
  }
};

TEST_F(KeptMemoryTest, ALaterProcessFindsBlocksAgain) {
  KeptPlace first, second;
  {
    auto& arena = of_ended_process<PinnedArena>(PinnedArenaOptions{.segment_bytes = 8 * kMiB, .step_bytes = kMiB});
    use(arena, std::make_shared<KeptMemory>(file));
    const auto& a = of_ended_process<PinnedBlock>(arena.allocate(3 * kMiB));
    const auto& unwanted = of_ended_process<PinnedBlock>(arena.allocate(4 * kMiB));
    const auto& b = of_ended_process<PinnedBlock>(arena.allocate(kMiB / 2));
    std::memset(a.data(), 'a', a.size_bytes());
    std::memset(unwanted.data(), 'x', unwanted.size_bytes());
    std::memset(b.data(), 'b', b.size_bytes());
    first = arena.place_of(a);
    second = arena.place_of(b);
  }
  PinnedArena arena;
  const auto memory = std::make_shared<KeptMemory>(file);
  use(arena, memory);
  const PinnedBlock a = arena.adopt(first), b = arena.adopt(second);
  EXPECT_EQ(a.data()[0], 'a');
  EXPECT_EQ(a.data()[a.size_bytes() - 1], 'a');
  EXPECT_EQ(b.data()[b.size_bytes() - 1], 'b');
  EXPECT_EQ(arena.stats().used_bytes, 3 * kMiB + kMiB / 2);
  // What comes new lies elsewhere.
  const PinnedBlock c = arena.allocate(10 * kMiB);
  std::memset(c.data(), 'c', c.size_bytes());
  EXPECT_EQ(a.data()[0], 'a');
  EXPECT_EQ(b.data()[0], 'b');
}

TEST_F(KeptMemoryTest, PagesThatNobodyWantsGoBack) {
  const auto earlier = std::make_shared<KeptMemory>(file);
  using Segment = std::unique_ptr<PinnedSegment>;
  const Segment& lost = of_ended_process<Segment>(earlier->append(6 * kMiB));
  const Segment& wanted = of_ended_process<Segment>(earlier->append(2 * kMiB));
  std::memset(lost->data(), 1, 6 * kMiB);
  std::memset(wanted->data(), 2, 2 * kMiB);
  EXPECT_EQ(held_bytes(), 8 * kMiB);
  const auto memory = std::make_shared<KeptMemory>(file);
  auto segment = memory->attach(wanted->kept_at(), 2 * kMiB);
  memory->release_rest();
  EXPECT_EQ(held_bytes(), 2 * kMiB);
  EXPECT_EQ(segment->data()[2 * kMiB - 1], 2);
  segment.reset();
  EXPECT_EQ(held_bytes(), 0);
}

TEST_F(KeptMemoryTest, RefusesWhatIsNotThere) {
  const auto memory = std::make_shared<KeptMemory>(file);
  const auto segment = memory->append(kMiB);
  EXPECT_GT(segment->kept_at(), 0);
  EXPECT_THROW(memory->attach(segment->kept_at(), kMiB), InvalidArgument);  // it is there already
  EXPECT_THROW(memory->attach(segment->kept_at() + 64 * kMiB, kMiB), InvalidArgument);
  EXPECT_THROW(memory->attach(segment->kept_at() + 512, kMiB), InvalidArgument);
  EXPECT_THROW(memory->attach(0, 0), InvalidArgument);
  EXPECT_THROW(KeptMemory(-1), InvalidArgument);
  EXPECT_THROW(KeptMemory(file).append(std::size_t{1} << 60), OutOfMemory);

  PinnedArena arena;
  EXPECT_THROW(arena.adopt({.segment_at = 1, .segment_bytes = 1, .offset = 0, .bytes = 1}), InvalidArgument);
  use(arena, memory);
  const PinnedBlock block = arena.allocate(1000);
  const KeptPlace place = arena.place_of(block);
  EXPECT_THROW(arena.adopt(place), InvalidArgument);  // somebody has it
  EXPECT_THROW(arena.place_of(PinnedBlock()), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
