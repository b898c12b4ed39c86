// How a session's cold starts travel over one set of links.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "runtime/loader.h"
#include "runtime/plan.h"

namespace deepplan {

// Runs are bound to one plan and captured by it: they wait for its groups. Weights may arrive in other groups, such as
// suit fewer links; then a wait is for all of these that have a share in the one.
class ColdWay {
 public:
  // Weights arrive by `plan`, runs wait by `bound`: both load the same layers. `groups` are the plan's, in the layout.
  ColdWay(Links& links, const HostWeights& weights, const ExecutionPlan& bound, ExecutionPlan plan,
          const std::vector<Extent>& groups)
      : plan_(std::move(plan)), loader_(links, weights, groups, plan_.route), last_group_(bound.route.size(), -1) {
    for (std::size_t layer = 0; layer < bound.group.size(); ++layer) {
      if (bound.group[layer] >= 0) last_group_[static_cast<std::size_t>(bound.group[layer])] = plan_.group[layer];
    }
  }

  const ExecutionPlan& plan() const { return plan_; }
  Loader& loader() { return loader_; }
  // The last of the loader's groups that has a share in this one of the bound plan.
  int last_group(int bound_group) const { return last_group_.at(static_cast<std::size_t>(bound_group)); }

 private:
  ExecutionPlan plan_;
  Loader loader_;
  std::vector<int> last_group_;
};

}  // namespace deepplan
