#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

namespace deepplan {

// What one run of a planned batch size takes. cold_ms[l - 1] is a cold start over l links, the GPU's own among them.
// crowded_ms[n - 1] is the same while other GPUs load over n links: all read the same host memory, which may not keep
// up with all links. More links than there are rows cost what the last row says; without rows, what cold_ms does.
struct BatchCost {
  int size = 1;
  double warm_ms = 0;
  std::vector<double> cold_ms;
  std::vector<std::vector<double>> crowded_ms = {};
};

// A cold start over as many links as make it fastest.
struct ColdCost {
  double ms = 0;
  int links = 1;
};

inline constexpr int kAllOthers = std::numeric_limits<int>::max();

// A cold start over `links` links while others load over `others`.
double cold_ms(const BatchCost& batch, int links, int others);

// The fastest over 1 to `links` links, the fewest of them where more gain nothing, while others load over `others`.
ColdCost fastest_cold(const BatchCost& batch, int links, int others);

// What the scheduler knows of a model: the memory it takes when resident, and what its runs take. Instances that are
// alike share one.
struct ServedModel {
  std::size_t device_bytes = 0;
  std::vector<BatchCost> batches;  // by ascending size, from 1

  int largest_batch() const { return batches.back().size; }
  // The smallest planned batch that `requests` fit into: a batch is padded up to it. At most largest_batch() fit.
  const BatchCost& padded(int requests) const;
};

// InvalidArgument, naming the model by its index, for costs that are not as above or not positive and finite.
void check_served_model(const ServedModel& model, std::size_t index);

}  // namespace deepplan
