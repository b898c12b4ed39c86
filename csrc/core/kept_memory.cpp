#include "core/kept_memory.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/page_lock.h"
#include "core/touch_pages.h"

namespace deepplan {
namespace {

std::size_t whole_pages(std::size_t bytes) { return (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes; }

}  // namespace

class KeptSegment final : public PinnedSegment {
 public:
  KeptSegment(std::shared_ptr<KeptMemory> memory, std::size_t at, std::size_t bytes, bool is_new)
      : memory_(std::move(memory)), at_(at), bytes_(bytes) {
    void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_->file_, static_cast<off_t>(at));
    if (data == MAP_FAILED) {
      throw OutOfMemory("the system cannot map " + format_bytes(bytes) + " of kept memory: " + std::strerror(errno));
    }
    data_ = static_cast<char*>(data);
    try {
      (void)madvise(data_, bytes, MADV_HUGEPAGE);  // small pages work as well, only slower
      if (is_new) touch_pages(data_, bytes);
      page_lock(data_, bytes);
    } catch (...) {
      munmap(data_, bytes_);
      throw;
    }
  }
  ~KeptSegment() override {
    page_unlock(data_);
    munmap(data_, bytes_);
    memory_->forget(at_, bytes_);
  }
  char* data() const override { return data_; }
  std::size_t size_bytes() const override { return bytes_; }
  std::size_t kept_at() const override { return at_; }

 private:
  std::shared_ptr<KeptMemory> memory_;
  std::size_t at_;
  std::size_t bytes_;
  char* data_ = nullptr;
};

KeptMemory::KeptMemory(int file) : file_(fcntl(file, F_DUPFD_CLOEXEC, 0)) {
  struct stat status{};
  if (file_ < 0 || fstat(file_, &status) != 0) {
    const std::string reason = std::strerror(errno);
    if (file_ >= 0) close(file_);
    throw InvalidArgument("file " + std::to_string(file) + " cannot keep memory: " + reason);
  }
  end_ = std::max(kHugePageBytes, whole_pages(static_cast<std::size_t>(status.st_size)));  // 0 is nowhere
}

KeptMemory::~KeptMemory() { close(file_); }

std::unique_ptr<PinnedSegment> KeptMemory::append(std::size_t bytes) {
  require_host_memory(bytes);
  const std::scoped_lock lock(mutex_);
  const std::size_t at = end_;
  if (ftruncate(file_, static_cast<off_t>(at + whole_pages(bytes))) != 0) {
    throw OutOfMemory("the system cannot keep " + format_bytes(bytes) + " more: " + std::strerror(errno));
  }
  end_ = at + whole_pages(bytes);
  try {
    auto segment = std::make_unique<KeptSegment>(shared_from_this(), at, bytes, /*is_new=*/true);
    segments_.emplace(at, bytes);
    return segment;
  } catch (...) {
    punch(at, whole_pages(bytes));
    throw;
  }
}

std::unique_ptr<PinnedSegment> KeptMemory::attach(std::size_t at, std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  if (bytes == 0 || at > end_ || bytes > end_ - at || at % kHugePageBytes != 0) {
    throw InvalidArgument("a segment of " + format_bytes(bytes) + " at " + std::to_string(at) + " is not in " +
                          format_bytes(end_) + " of kept memory");
  }
  for (const auto& [begin, size] : segments_) {
    if (at < begin + size && begin < at + bytes) throw InvalidArgument("a segment there is in use already");
  }
  auto segment = std::make_unique<KeptSegment>(shared_from_this(), at, bytes, /*is_new=*/false);
  segments_.emplace(at, bytes);
  return segment;
}

void KeptMemory::release_rest() {
  const std::scoped_lock lock(mutex_);
  std::size_t from = 0;
  for (const auto& [at, bytes] : segments_) {
    punch(from, at - from);
    from = at + whole_pages(bytes);
  }
  punch(from, end_ - from);
}

void KeptMemory::forget(std::size_t at, std::size_t bytes) {
  const std::scoped_lock lock(mutex_);
  segments_.erase({at, bytes});
  punch(at, whole_pages(bytes));
}

void KeptMemory::punch(std::size_t at, std::size_t bytes) const {
  // What the system does not take back now it does when the file is closed.
  if (bytes > 0) {
    (void)fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                    static_cast<off_t>(bytes));
  }
}

}  // namespace deepplan
