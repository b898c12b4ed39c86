#pragma once

#include <chrono>

namespace deepplan {

// A flag that is a file: it can be waited for like a socket, in an event loop. Set and clear do not wait.
class EventFile {
 public:
  // OutOfMemory where the system has no more files for this process.
  EventFile();
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // Readable while it is set.
  int descriptor() const { return descriptor_; }
  void set();
  void clear();
  // Until it is set, or for so long.
  void wait(std::chrono::milliseconds most) const;

 private:
  int descriptor_;
};

}  // namespace deepplan
