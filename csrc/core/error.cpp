#include "core/error.h"

#include <array>
#include <cstdio>
#include <string_view>

namespace deepplan {
namespace {

// The path from the source root on: where the build happened is nobody's business.
std::string_view relative_path(std::string_view path) {
  for (std::string_view root : {"csrc/", "tests/"}) {
    if (const auto at = path.rfind(root); at != std::string_view::npos) return path.substr(at);
  }
  return path;
}

std::string with_place(const std::string& message, const std::source_location& where) {
  return message + " (" + std::string(relative_path(where.file_name())) + ":" + std::to_string(where.line()) + ")";
}

}  // namespace

Error::Error(const std::string& message, std::source_location where)
    : std::runtime_error(with_place(message, where)), message_(message), where_(where) {}

std::string format_bytes(std::size_t bytes) {
  constexpr std::array<const char*, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " bytes";
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", value, kUnits[unit]);
  return text.data();
}

}  // namespace deepplan
