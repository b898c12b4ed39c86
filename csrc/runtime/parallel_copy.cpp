#include "runtime/parallel_copy.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

namespace deepplan {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
constexpr std::size_t kCopyThreads = 8;  // some 40 GB/s where that was measured: twice as many bring half as much again

std::vector<CopyRange> chunks_of(const std::vector<CopyRange>& ranges) {
  std::vector<CopyRange> chunks;
  for (const CopyRange& range : ranges) {
    for (std::size_t at = 0; at < range.bytes; at += kChunkBytes) {
      chunks.push_back({range.destination + at, range.source + at, std::min(kChunkBytes, range.bytes - at)});
    }
  }
  return chunks;
}

std::size_t thread_count(const std::vector<CopyRange>& chunks) {
  std::size_t bytes = 0;
  for (const CopyRange& chunk : chunks) bytes += chunk.bytes;
  const std::size_t processors = std::max(std::thread::hardware_concurrency(), 1U);
  return std::min({(bytes + kChunkBytes - 1) / kChunkBytes, processors, kCopyThreads});
}

}  // namespace

void parallel_copy(const std::vector<CopyRange>& ranges) {
  const std::vector<CopyRange> chunks = chunks_of(ranges);
  std::atomic<std::size_t> next{0};
  const auto copy_chunks = [&] {
    for (std::size_t i = next++; i < chunks.size(); i = next++) {
      std::memcpy(chunks[i].destination, chunks[i].source, chunks[i].bytes);
    }
  };
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < thread_count(chunks); ++i) others.emplace_back(copy_chunks);
  copy_chunks();
}

}  // namespace deepplan
