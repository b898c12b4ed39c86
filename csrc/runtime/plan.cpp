#include "runtime/plan.h"

#include <string>

#include "core/error.h"

namespace deepplan {
namespace {

using std::to_string;

void validate_ownership(const ModelWeights& weights) {
  const std::size_t tensors = weights.tensor_bytes.size();
  std::vector<int> owner(tensors, -1);
  for (std::size_t layer = 0; layer < weights.layer_tensors.size(); ++layer) {
    for (const int tensor : weights.layer_tensors[layer]) {
      if (tensor < 0 || static_cast<std::size_t>(tensor) >= tensors) {
        throw InvalidArgument("layer " + to_string(layer) + " owns tensor " + to_string(tensor) + " of a model with " +
                              to_string(tensors));
      }
      int& owned_by = owner[static_cast<std::size_t>(tensor)];
      if (owned_by >= 0) {
        throw InvalidArgument("tensor " + to_string(tensor) + " is owned by layer " + to_string(owned_by) +
                              " and by layer " + to_string(layer));
      }
      owned_by = static_cast<int>(layer);
    }
  }
  for (std::size_t tensor = 0; tensor < tensors; ++tensor) {
    if (owner[tensor] < 0) throw InvalidArgument("tensor " + to_string(tensor) + " is owned by no layer");
  }
}

void validate_layer_count(const char* what, std::size_t count, std::size_t layers) {
  if (count != layers) {
    throw InvalidArgument("the plan has " + to_string(count) + " " + what + " for a model of " + to_string(layers) +
                          " layers");
  }
}

// Returns the number of groups.
std::size_t validate_groups(const ExecutionPlan& plan, const ModelWeights& weights) {
  int last = -1;
  for (std::size_t layer = 0; layer < plan.group.size(); ++layer) {
    const int group = plan.group[layer];
    const std::string which = "layer " + to_string(layer) + " is in group " + to_string(group);
    if (weights.layer_tensors[layer].empty() || plan.placement[layer] == Placement::DirectHostAccess) {
      if (group != -1) throw InvalidArgument(which + " though nothing of it is loaded: it must be -1");
      continue;
    }
    if (group != last && group != last + 1) {
      throw InvalidArgument(which + ": after group " + to_string(last) + " it must be " +
                            (last < 0 ? "0" : to_string(last) + " or " + to_string(last + 1)));
    }
    if (group < 0) throw InvalidArgument(which + " though it is loaded: it must be 0 or more");
    last = group;
  }
  return static_cast<std::size_t>(last + 1);
}

}  // namespace

void validate(const ExecutionPlan& plan, const ModelWeights& weights, int link_count) {
  const std::size_t layers = weights.layer_tensors.size();
  validate_layer_count("placements", plan.placement.size(), layers);
  validate_layer_count("group indices", plan.group.size(), layers);
  validate_ownership(weights);
  const std::size_t groups = validate_groups(plan, weights);
  if (plan.route.size() != groups) {
    throw InvalidArgument("the plan has " + to_string(plan.route.size()) + " routes for " + to_string(groups) +
                          " groups");
  }
  if (!plan.coded.empty() && plan.coded.size() != groups) {
    throw InvalidArgument("the plan has " + to_string(plan.coded.size()) + " flags for coding and " +
                          to_string(groups) + " groups");
  }
  for (std::size_t group = 0; group < groups; ++group) {
    if (plan.route[group] < 0 || plan.route[group] >= link_count) {
      throw InvalidArgument("group " + to_string(group) + " travels over link " + to_string(plan.route[group]) +
                            ": there are " + to_string(link_count));
    }
  }
}

}  // namespace deepplan
