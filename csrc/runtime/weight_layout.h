#pragma once

#include <cstddef>
#include <vector>

#include "runtime/plan.h"

namespace deepplan {

// Tensors begin at multiples of this in host and device memory, so that library kernels see the same alignment in both.
inline constexpr std::size_t kTensorAlignmentBytes = 512;

struct Extent {
  std::size_t offset = 0;
  std::size_t bytes = 0;
  std::size_t end() const { return offset + bytes; }
};

// Where each tensor lies. Host: the whole of [0, total_bytes). Device: the prefix [0, loaded_bytes), same offsets.
// Loaded tensors come first, group by group and in layer order inside a group, then those only read in place; so a
// group is one extent and one copy.
struct WeightLayout {
  std::vector<std::size_t> tensor_offset;
  std::vector<std::size_t> tensor_bytes;
  std::vector<bool> tensor_loaded;
  std::vector<Extent> groups;
  std::size_t loaded_bytes = 0;
  std::size_t total_bytes = 0;
};

// The plan must be valid for the weights (see validate).
WeightLayout lay_out(const ModelWeights& weights, const ExecutionPlan& plan);

}  // namespace deepplan
