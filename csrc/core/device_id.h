#pragma once

#include <compare>
#include <ostream>
#include <string>

namespace deepplan {

enum class Backend { Host, Cuda };

// Which device: "host:0", "cuda:1". The index is the backend's own numbering.
struct DeviceId {
  Backend backend = Backend::Host;
  int index = 0;
  friend auto operator<=>(const DeviceId&, const DeviceId&) = default;
};

std::string to_string(Backend backend);
std::string to_string(DeviceId id);
std::ostream& operator<<(std::ostream& out, DeviceId id);

// The inverse of to_string; InvalidArgument for anything else.
DeviceId parse_device_id(const std::string& text);

}  // namespace deepplan
