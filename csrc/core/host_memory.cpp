#include "core/host_memory.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>

namespace deepplan {
namespace {

constexpr std::size_t kUnknown = std::numeric_limits<std::size_t>::max();

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

// The C library's reader on purpose: streams of the C++ library found nothing here in a process that had loaded torch.
File open(const char* path) { return File(std::fopen(path, "r")); }

// The number after `name` in a file of "name number" lines.
std::optional<std::size_t> field(const char* path, const char* name) {
  const File file = open(path);
  char line[256];
  while (file && std::fgets(line, sizeof line, file.get()) != nullptr) {
    const std::size_t length = std::strlen(name);
    std::size_t value = 0;
    if (std::strncmp(line, name, length) == 0 && std::sscanf(line + length, "%zu", &value) == 1) return value;
  }
  return std::nullopt;
}

std::optional<std::size_t> number(const char* path) {
  const File file = open(path);
  std::size_t value = 0;
  if (!file || std::fscanf(file.get(), "%zu", &value) != 1) return std::nullopt;  // "max": no limit
  return value;
}

std::size_t machine_available_bytes() {
  const std::optional<std::size_t> kib = field("/proc/meminfo", "MemAvailable:");
  return kib ? *kib << 10 : kUnknown;
}

// Control group version 2, as a container sees its own.
std::size_t control_group_available_bytes() {
  const std::optional<std::size_t> limit = number("/sys/fs/cgroup/memory.max");
  const std::optional<std::size_t> current = number("/sys/fs/cgroup/memory.current");
  if (!limit || !current) return kUnknown;
  // Cached file pages count as used there, but give way.
  std::size_t cached = 0;
  for (const char* name : {"inactive_file", "active_file"}) {
    cached += field("/sys/fs/cgroup/memory.stat", name).value_or(0);
  }
  const std::size_t used = *current - std::min(*current, cached);
  return *limit - std::min(*limit, used);
}

}  // namespace

std::size_t available_host_memory_bytes() {
  return std::min(machine_available_bytes(), control_group_available_bytes());
}

}  // namespace deepplan
