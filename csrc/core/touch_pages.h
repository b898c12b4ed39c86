#pragma once

#include <cstddef>

namespace deepplan {

inline constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

// Makes the pages of new memory by writing to each: by many threads, since one clears only a few GB a second.
void touch_pages(char* data, std::size_t bytes);

// Throws OutOfMemory where so many bytes are more than there are: touching them would end the process instead.
void require_host_memory(std::size_t bytes);

}  // namespace deepplan
