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
  friend bool operator==(const Extent&, const Extent&) = default;
};

// Where each tensor lies. Host: the whole of [0, total_bytes). Device: the prefix [0, resident_bytes), same offsets.
// Loaded tensors come first, group by group and in layer order inside a group, so that a group is one extent and one
// copy; then those that a cold start reads in place and a warm one finds on the device; then those never loaded.
struct WeightLayout {
  std::vector<std::size_t> tensor_offset;
  std::vector<std::size_t> tensor_bytes;
  std::vector<bool> tensor_resident;  // on the device in a warm start: loaded, or promoted after the cold one
  std::vector<Extent> groups;
  std::size_t loaded_bytes = 0;    // what a cold start brings
  std::size_t resident_bytes = 0;  // with what is promoted
  std::size_t total_bytes = 0;
  friend bool operator==(const WeightLayout&, const WeightLayout&) = default;
};

// The plan must be valid for the weights (see validate). `promotable` has one flag a tensor, or is empty: whether one
// that the plan leaves in host memory is brought to the device after a cold start.
WeightLayout lay_out(const ModelWeights& weights, const ExecutionPlan& plan, const std::vector<bool>& promotable = {});

}  // namespace deepplan
