#pragma once

#include <cstddef>

namespace deepplan {

// How many bytes this process can still touch: the machine's available memory, or what its control group leaves, if
// that is less. The largest std::size_t where the system does not say.
std::size_t available_host_memory_bytes();

}  // namespace deepplan
