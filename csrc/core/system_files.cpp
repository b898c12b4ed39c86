#include "core/system_files.h"

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace deepplan {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
struct Free {
  void operator()(char* text) const { std::free(text); }
};

std::unique_ptr<std::FILE, Close> open(const std::string& path) {
  return std::unique_ptr<std::FILE, Close>(std::fopen(path.c_str(), "r"));
}

}  // namespace

std::optional<long long> read_number(const std::string& path) {
  const auto file = open(path);
  long long value = 0;
  if (!file || std::fscanf(file.get(), "%lld", &value) != 1) return std::nullopt;
  return value;
}

std::optional<long long> read_field(const std::string& path, const std::string& name) {
  const auto file = open(path);
  char line[256];
  while (file && std::fgets(line, sizeof line, file.get()) != nullptr) {
    long long value = 0;
    const std::string text = line;
    if (text.starts_with(name) && std::sscanf(line + name.size(), "%lld", &value) == 1) return value;
  }
  return std::nullopt;
}

std::string resolve_path(const std::string& path) {
  const std::unique_ptr<char, Free> resolved(realpath(path.c_str(), nullptr));
  return resolved ? resolved.get() : "";
}

}  // namespace deepplan
