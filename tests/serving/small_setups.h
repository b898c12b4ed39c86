// Models and setups that several tests of the scheduler use.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "serving/scheduler.h"

namespace deepplan::testing_setups {

// Cold in 10 ms, warm in 1.
inline ServedModel simple_model(std::size_t bytes) { return {bytes, {{1, 1.0, {10.0}}}}; }

inline ServingSetup setup_of(std::vector<ServedModel> models, std::vector<int> instance_model,
                             SchedulerOptions options) {
  return {std::move(models), std::move(instance_model), std::move(options)};
}

inline std::vector<int> numbers(std::span<const int> span) { return {span.begin(), span.end()}; }

}  // namespace deepplan::testing_setups
