#include "serving/event_file.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "core/error.h"

namespace deepplan {

EventFile::EventFile() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (descriptor_ < 0) throw OutOfMemory(std::string("cannot make an event file: ") + std::strerror(errno));
}

EventFile::~EventFile() { close(descriptor_); }

void EventFile::set() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(descriptor_, &one, sizeof one);  // refused only when it is set anyway
}

void EventFile::clear() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto taken = read(descriptor_, &count, sizeof count);  // refused when it is not set
}

void EventFile::wait(std::chrono::milliseconds most) const {
  pollfd waited{descriptor_, POLLIN, 0};
  poll(&waited, 1, static_cast<int>(most.count()));
}

}  // namespace deepplan
