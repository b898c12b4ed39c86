#pragma once

#include <algorithm>
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

  // Moves `bytes` from `ready` on: latency first, then chunk by chunk, calling arrived(offset, chunk_bytes) on the
  // calling thread when the time of each is over. Returns when the last one's was, on the link's own clock.
  template <typename Arrived>
  TimePoint move(std::size_t bytes, TimePoint ready, const Arrived& arrived) {
    ready += latency_;
    for (std::size_t done = 0; done < bytes;) {
      const std::size_t chunk = std::min(kChunkBytes, bytes - done);
      ready = book(chunk, ready);
      wait_for(ready, done + chunk == bytes);
      arrived(done, chunk);
      done += chunk;
    }
    return ready;
  }

 private:
  static constexpr std::size_t kChunkBytes = std::size_t{256} << 10;
  // To the moment when `precisely`; otherwise as late as a sleep returns, which the chunks after it make up for.
  static void wait_for(TimePoint until, bool precisely);

  double ns_per_byte_;
  Clock::duration latency_;
  std::mutex mutex_;
  TimePoint next_free_{};
};

}  // namespace deepplan
