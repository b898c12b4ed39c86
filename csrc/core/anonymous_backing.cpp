#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "core/error.h"
#include "core/page_lock.h"
#include "core/pinned_arena.h"
#include "core/touch_pages.h"

namespace deepplan {
namespace {

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

class AnonymousSegment final : public PinnedSegment {
 public:
  explicit AnonymousSegment(std::size_t bytes) : bytes_(bytes), mapping_(bytes + kHugePageBytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(mapping_.data());
    data_ = mapping_.data() + (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
    (void)madvise(data_, bytes, MADV_HUGEPAGE);  // small pages work as well, only slower
    touch_pages(data_, bytes);
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
    require_host_memory(bytes);
    return std::make_unique<AnonymousSegment>(bytes);
  };
}

}  // namespace deepplan
