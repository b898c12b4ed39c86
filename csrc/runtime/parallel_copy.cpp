#include "runtime/parallel_copy.h"

#include <algorithm>
#include <cstring>

#include "runtime/parallel_for.h"

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

}  // namespace

void parallel_copy(const std::vector<CopyRange>& ranges) {
  const std::vector<CopyRange> chunks = chunks_of(ranges);
  std::size_t bytes = 0;
  for (const CopyRange& chunk : chunks) bytes += chunk.bytes;
  const std::size_t worth = (bytes + kChunkBytes - 1) / kChunkBytes;  // a thread costs as much as a small copy
  parallel_for(chunks.size(), std::min(worth, kCopyThreads),
               [&](std::size_t i) { std::memcpy(chunks[i].destination, chunks[i].source, chunks[i].bytes); });
}

}  // namespace deepplan
