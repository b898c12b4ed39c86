#include "core/host_link.h"

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

void HostLink::wait_for(TimePoint until, bool precisely) {
  constexpr std::chrono::microseconds kAwake{60};  // about what a sleep oversleeps
  const TimePoint asleep_until = precisely ? until - kAwake : until;
  if (Clock::now() < asleep_until) std::this_thread::sleep_until(asleep_until);
  while (Clock::now() < until) std::this_thread::yield();
}

}  // namespace deepplan
