#include "core/host_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace deepplan {
namespace {

constexpr std::size_t kUnknown = std::numeric_limits<std::size_t>::max();

std::size_t machine_available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::size_t kib = 0;
  for (std::string unit; file >> name >> kib; std::getline(file, unit)) {
    if (name == "MemAvailable:") return kib << 10;
  }
  return kUnknown;
}

// Control group version 2, as a container sees its own.
std::size_t control_group_available_bytes() {
  std::size_t limit = 0;
  std::size_t current = 0;
  // "max" is no number: there is no limit then.
  if (!(std::ifstream("/sys/fs/cgroup/memory.max") >> limit)) return kUnknown;
  if (!(std::ifstream("/sys/fs/cgroup/memory.current") >> current)) return kUnknown;
  // Cached file pages count as used there, but give way.
  std::ifstream stat("/sys/fs/cgroup/memory.stat");
  std::string name;
  for (std::size_t value = 0; stat >> name >> value;) {
    if (name == "inactive_file" || name == "active_file") current -= std::min(current, value);
  }
  return limit - std::min(limit, current);
}

}  // namespace

std::size_t available_host_memory_bytes() {
  return std::min(machine_available_bytes(), control_group_available_bytes());
}

}  // namespace deepplan
