#include "runtime/background_load.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace deepplan {
namespace {

constexpr std::size_t kCopyBytes = std::size_t{4} << 20;  // small enough to stop soon, large enough to fill the link

}  // namespace

BackgroundLoad::BackgroundLoad(Device& device, const char* pinned, std::size_t bytes)
    : device_(device),
      copy_bytes_(std::min(bytes, kCopyBytes)),
      buffer_(device.allocate(copy_bytes_)),
      stream_(device.create_stream()),
      thread_([this, pinned](const std::stop_token& stop) { run(stop, pinned); }) {}

BackgroundLoad::~BackgroundLoad() {
  thread_.request_stop();
  thread_.join();
}

void BackgroundLoad::run(const std::stop_token& stop, const char* pinned) {
  try {
    // Two copies under way at any time: the next one begins where the last one ends.
    std::array<std::unique_ptr<Event>, 2> done = {device_.create_event(), device_.create_event()};
    for (std::size_t turn = 0; copy_bytes_ > 0 && !stop.stop_requested(); turn = 1 - turn) {
      done[turn]->synchronize();
      device_.copy_from_host(buffer_->data(), pinned, copy_bytes_, *stream_);
      stream_->record(*done[turn]);
    }
    stream_->synchronize();
  } catch (const Error&) {
    // A failed device is reported by the work that is being measured.
  }
}

}  // namespace deepplan
