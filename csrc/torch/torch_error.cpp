#include "torch/torch_error.h"

#include <string>

#include "core/error.h"

namespace deepplan {

void throw_as_ours(const c10::Error& error) {
  const std::string message = error.what_without_backtrace();
  // The CPU's allocator throws no type of its own.
  const bool out_of_memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                             message.find("can't allocate memory") != std::string::npos;
  if (out_of_memory) throw OutOfMemory("inputs or activations do not fit: " + message);
  throw Error("an operator failed: " + message);
}

}  // namespace deepplan
