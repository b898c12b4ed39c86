#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/host_memory.h"
#include "core/page_lock.h"
#include "core/pinned_arena.h"

namespace deepplan {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kPageBytes = 4096;
constexpr unsigned kTouchThreads = 8;  // more bring nothing: memory bandwidth is the limit by then

class Mapping {
 public:
  explicit Mapping(std::size_t bytes) : bytes_(bytes) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
      throw OutOfMemory("the system cannot map " + format_bytes(bytes) + " of host memory: " + std::strerror(errno));
    }
    data_ = static_cast<char*>(data);
  }
  ~Mapping() { munmap(data_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  char* data() const { return data_; }

 private:
  std::size_t bytes_;
  char* data_ = nullptr;
};

// The first touch makes the pages: by many threads, since one clears only a few GB a second.
void touch(char* data, std::size_t bytes) {
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1U, kTouchThreads);
  const std::size_t share = (bytes / threads + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  const auto touch_from = [=](std::size_t begin) {
    const std::size_t end = std::min(begin + share, bytes);
    for (std::size_t at = begin; at < end; at += kPageBytes) *static_cast<volatile char*>(data + at) = 0;
  };
  std::vector<std::jthread> others;
  for (std::size_t begin = share; begin < bytes; begin += share) others.emplace_back(touch_from, begin);
  touch_from(0);
}

class AnonymousSegment final : public PinnedSegment {
 public:
  explicit AnonymousSegment(std::size_t bytes) : bytes_(bytes), mapping_(bytes + kHugePageBytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(mapping_.data());
    data_ = mapping_.data() + (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
    (void)madvise(data_, bytes, MADV_HUGEPAGE);  // small pages work as well, only slower
    touch(data_, bytes);
    page_lock(data_, bytes);
  }
  ~AnonymousSegment() override { page_unlock(data_); }
  char* data() const override { return data_; }
  std::size_t size_bytes() const override { return bytes_; }

 private:
  std::size_t bytes_;
  Mapping mapping_;
  char* data_ = nullptr;
};

}  // namespace

PinnedBacking anonymous_backing() {
  return [](std::size_t bytes) -> std::unique_ptr<PinnedSegment> {
    // Asked first: touching more than there is ends the process instead of failing.
    const std::size_t available = available_host_memory_bytes();
    if (bytes > std::min(available, std::numeric_limits<std::size_t>::max() - kHugePageBytes)) {
      throw OutOfMemory("not enough host memory to pin " + format_bytes(bytes) + ": " + format_bytes(available) +
                        " available");
    }
    return std::make_unique<AnonymousSegment>(bytes);
  };
}

}  // namespace deepplan
