#pragma once

#include <optional>
#include <string>

namespace deepplan {

// What the system tells in /proc and /sys, read with the C library only. The C++ library's streams and filesystem are
// out of bounds in this project: torch exports parts of both, of the compiler that torch was built with, and in a
// process that has loaded torch ours would be mixed with those.

// The number a file begins with; nothing where there is no such file, or no number ("max").
std::optional<long long> read_number(const std::string& path);

// The number after `name` in a file of "name number" lines; nothing where there is none.
std::optional<long long> read_field(const std::string& path, const std::string& name);

// The path with every link resolved; empty where it does not exist.
std::string resolve_path(const std::string& path);

}  // namespace deepplan
