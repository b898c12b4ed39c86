#pragma once

#include <cstddef>
#include <vector>

namespace deepplan {

enum class Placement { Load, DirectHostAccess };

// What is decided about a model's cold start; layers in execution order, link 0 is the target's own.
struct ExecutionPlan {
  std::vector<Placement> placement;  // one a layer; either for a layer that owns no tensor
  std::vector<int> group;            // one a layer; -1 for direct-host-access and for layers that own no tensor
  std::vector<int> route;            // one link index a group
  std::vector<bool> coded = {};      // one a group, or none: whether it crosses its link coded
  friend bool operator==(const ExecutionPlan&, const ExecutionPlan&) = default;
};

// What a model's weights are. A tensor belongs to one layer: the first that loads it, or its first user when none does
// (so a table that is read in place by one layer and loaded by another has the second as its owner).
struct ModelWeights {
  std::vector<std::size_t> tensor_bytes;        // one a tensor; 0 is legal
  std::vector<std::vector<int>> layer_tensors;  // the tensors each layer owns, by first use

  friend bool operator==(const ModelWeights&, const ModelWeights&) = default;
};

// InvalidArgument, naming the layer, tensor or group by index, unless: every list has one entry a layer; each tensor is
// owned exactly once; groups are 0, 1, 2... without gaps, ascending over the loaded layers; each group has a route in
// [0, link_count), and a flag for coding or none has.
void validate(const ExecutionPlan& plan, const ModelWeights& weights, int link_count);

}  // namespace deepplan
