#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "serving/scheduler.h"

namespace deepplan {

// By request, in the order of arrival.
struct SimulatedRequests {
  std::vector<double> latency_ms;     // from arrival to the end of its job; NaN where refused
  std::vector<std::uint8_t> cold;     // 1: its job was a cold start
  std::vector<std::uint8_t> refused;  // 1: not accepted
  std::vector<std::int32_t> gpu;      // where it ran, or would have
  ServingCounters counters;
};

// Serves arrivals in virtual time. A warm run takes what it is predicted to; a cold start, of which only what it takes
// beside so many others all the time is known, goes on at each moment as fast as it would beside those that load then
// (as in processor sharing). The scheduler does not foresee that, nor does a server's. Arrivals are in ms, ascending,
// each of the instance beside it. What ends at the time of an arrival has ended for it.
// InvalidArgument for a setup that Scheduler refuses, and for arrivals out of order or without an instance.
SimulatedRequests simulate_serving(ServingSetup setup, std::span<const double> arrivals_ms,
                                   std::span<const std::int32_t> instances);

}  // namespace deepplan
