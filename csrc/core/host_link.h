#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>

namespace deepplan {

// The time budget of one host device's link. Whoever moves bytes books them in chunks and waits for the end of each
// booking before the next one, so that several movers share the link about equally, as PCIe requests do.
class HostLink {
 public:
  using Clock = std::chrono::steady_clock;
  using TimePoint = Clock::time_point;

  HostLink(double gbps, double latency_us);

  // Books `bytes` behind everything booked so far, no earlier than `not_before`; returns when they will be across.
  TimePoint book(std::size_t bytes, TimePoint not_before);
  // What a copy or a read in place waits once before its first byte.
  Clock::duration latency() const { return latency_; }
  // How many bytes are booked at a time.
  static constexpr std::size_t kChunkBytes = std::size_t{256} << 10;

 private:
  double ns_per_byte_;
  Clock::duration latency_;
  std::mutex mutex_;
  TimePoint next_free_{};
};

// Blocks the calling thread until then: asleep at first, awake for the last moments, which a sleep would miss.
void wait_until(HostLink::TimePoint until);

}  // namespace deepplan
