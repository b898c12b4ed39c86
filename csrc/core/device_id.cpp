#include "core/device_id.h"

#include <charconv>

#include "core/error.h"

namespace deepplan {

std::string to_string(Backend backend) { return backend == Backend::Cuda ? "cuda" : "host"; }

std::string to_string(DeviceId id) { return to_string(id.backend) + ":" + std::to_string(id.index); }

std::ostream& operator<<(std::ostream& out, DeviceId id) { return out << to_string(id); }

DeviceId parse_device_id(const std::string& text) {
  for (Backend backend : {Backend::Host, Backend::Cuda}) {
    const std::string prefix = to_string(backend) + ":";
    if (!text.starts_with(prefix)) continue;
    int index = 0;
    const char* end = text.data() + text.size();
    const auto [stop, status] = std::from_chars(text.data() + prefix.size(), end, index);
    if (status == std::errc() && stop == end && index >= 0) return {backend, index};
  }
  throw InvalidArgument("'" + text + "' names no device: write host:INDEX or cuda:INDEX");
}

}  // namespace deepplan
