#include "core/host_memory.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "core/system_files.h"

namespace deepplan {
namespace {

constexpr std::size_t kUnknown = std::numeric_limits<std::size_t>::max();

std::size_t machine_available_bytes() {
  const std::optional<long long> kib = read_field("/proc/meminfo", "MemAvailable:");
  return kib ? static_cast<std::size_t>(*kib) << 10 : kUnknown;
}

// Control group version 2, as a container sees its own.
std::size_t control_group_available_bytes() {
  const std::optional<long long> limit = read_number("/sys/fs/cgroup/memory.max");
  const std::optional<long long> current = read_number("/sys/fs/cgroup/memory.current");
  if (!limit || !current) return kUnknown;
  // Cached file pages count as used there, but give way.
  long long cached = 0;
  for (const char* name : {"inactive_file ", "active_file "}) {
    cached += read_field("/sys/fs/cgroup/memory.stat", name).value_or(0);
  }
  return static_cast<std::size_t>(std::max(0LL, *limit - std::max(0LL, *current - cached)));
}

}  // namespace

std::size_t available_host_memory_bytes() {
  return std::min(machine_available_bytes(), control_group_available_bytes());
}

}  // namespace deepplan
