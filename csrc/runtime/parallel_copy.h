#pragma once

#include <cstddef>
#include <vector>

namespace deepplan {

struct CopyRange {
  char* destination = nullptr;
  const char* source = nullptr;
  std::size_t bytes = 0;
};

// Copies between host memories by up to 8 threads, in chunks of a few MiB that they take in turn, so that many small
// ranges and one large one are equally fast. Sources may be mapped from files: their page faults are spread, too, and
// measured no slower than reading the file. Destinations must not overlap one another, nor a source. Returns when
// all is copied.
void parallel_copy(const std::vector<CopyRange>& ranges);

}  // namespace deepplan
