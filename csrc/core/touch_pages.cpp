#include "core/touch_pages.h"

#include <algorithm>
#include <limits>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/host_memory.h"

namespace deepplan {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr unsigned kThreads = 8;  // more bring nothing: memory bandwidth is the limit by then

}  // namespace

void touch_pages(char* data, std::size_t bytes) {
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1U, kThreads);
  const std::size_t share = (bytes / threads / kHugePageBytes + 1) * kHugePageBytes;  // never 0
  const auto touch_from = [=](std::size_t begin) {
    const std::size_t end = std::min(begin + share, bytes);
    for (std::size_t at = begin; at < end; at += kPageBytes) *static_cast<volatile char*>(data + at) = 0;
  };
  std::vector<std::jthread> others;
  for (std::size_t begin = share; begin < bytes; begin += share) others.emplace_back(touch_from, begin);
  touch_from(0);
}

void require_host_memory(std::size_t bytes) {
  const std::size_t available = available_host_memory_bytes();
  if (bytes > std::min(available, std::numeric_limits<std::size_t>::max() - kHugePageBytes)) {
    throw OutOfMemory("not enough host memory to pin " + format_bytes(bytes) + ": " + format_bytes(available) +
                      " available");
  }
}

}  // namespace deepplan
