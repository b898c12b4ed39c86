#pragma once

#include <utility>
#include <vector>

namespace deepplan {

// As if made by a process that was killed since: never destroyed. Still reachable, or leak checkers would complain.
template <typename T, typename... Arguments>
T& of_ended_process(Arguments&&... arguments) {
  static auto* const kept = new std::vector<T*>();
  return *kept->emplace_back(new T(std::forward<Arguments>(arguments)...));
}

}  // namespace deepplan
