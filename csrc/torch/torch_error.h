#pragma once

#include <c10/util/Exception.h>

namespace deepplan {

// Throws torch's error as one of ours: OutOfMemory for that, else Error. The C++ stack that torch's message ends with
// is left out: it says where libraries lie in memory, and messages reach clients.
[[noreturn]] void throw_as_ours(const c10::Error& error);

}  // namespace deepplan
