#include "core/host_link.h"

#include <algorithm>
#include <thread>

namespace deepplan {

HostLink::HostLink(double gbps, double latency_us)
    : ns_per_byte_(1.0 / gbps),
      latency_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::micro>(latency_us))) {}

HostLink::TimePoint HostLink::book(std::size_t bytes, TimePoint not_before) {
  const auto length = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double, std::nano>(static_cast<double>(bytes) * ns_per_byte_));
  const std::lock_guard lock(mutex_);
  next_free_ = std::max(next_free_, not_before) + length;
  return next_free_;
}

void wait_until(HostLink::TimePoint until) {
  constexpr std::chrono::microseconds kAwake{60};  // about what a sleep oversleeps
  if (HostLink::Clock::now() + kAwake < until) std::this_thread::sleep_until(until - kAwake);
  while (HostLink::Clock::now() < until) std::this_thread::yield();
}

}  // namespace deepplan
