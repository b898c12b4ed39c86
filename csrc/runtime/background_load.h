#pragma once

#include <cstddef>
#include <memory>
#include <thread>

#include "core/device.h"

namespace deepplan {

// Keeps one device's own link busy with copies from pinned memory, from its making to its end: reading in place is
// measured beside it, because that is how it happens in a cold start.
class BackgroundLoad {
 public:
  // `pinned` must stay as it is; it may be read by others. OutOfMemory when the buffer the copies go to does not fit.
  BackgroundLoad(Device& device, const char* pinned, std::size_t bytes);
  // Waits for the copies under way.
  ~BackgroundLoad();
  BackgroundLoad(const BackgroundLoad&) = delete;
  BackgroundLoad& operator=(const BackgroundLoad&) = delete;

 private:
  void run(const std::stop_token& stop, const char* pinned);

  Device& device_;
  std::size_t copy_bytes_;
  std::unique_ptr<DeviceMemory> buffer_;
  std::unique_ptr<Stream> stream_;
  std::jthread thread_;
};

}  // namespace deepplan
