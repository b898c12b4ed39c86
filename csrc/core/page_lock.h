#pragma once

#include <cstddef>

namespace deepplan {

// Page-locks host memory for every CUDA device of this process, mapped so that they can read it in place. No-op in a
// build without CUDA and on a machine without a GPU. OutOfMemory with the driver's reason when it refuses.
void page_lock(void* data, std::size_t bytes);
// Undoes page_lock, under the same conditions. Never throws.
void page_unlock(void* data) noexcept;

}  // namespace deepplan
