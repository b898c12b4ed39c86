// Runs of one session whose kernels were captured: one call for all of them up to the next wait, instead of one each.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/device.h"
#include "runtime/device_pool.h"
#include "torch/graph.h"

namespace deepplan {

// What is captured for itself. A cold run is cut where it waits for weights, and reads in place what its plan says; a
// warm one reads everything on the device that may be there.
struct RunKind {
  bool cold = false;
  bool timed = false;
  friend auto operator<=>(const RunKind&, const RunKind&) = default;
};

struct CapturedRun {
  std::unique_ptr<LaunchGraph> graph;    // null until the capture was adopted
  std::vector<int> waits;                // for each part of the graph but the first, the group that it waits for
  std::vector<c10::IValue> outputs;      // where each launch leaves them: views that own nothing
  std::vector<bool> layers_that_waited;  // of a timed one
};

// A captured run reads its inputs where they were when it was captured, and its weights too unless its graph can move.
// Sessions may share one: they take turns with the target's mutex.
class CapturedRuns {
 public:
  // Where captured runs find their inputs, of the graph's shapes; made when first asked for. Zeros until written.
  const std::vector<at::Tensor>& inputs(const Graph& graph, c10::Device target);

  // Keeps what a capture over the weights at `device_base` returned, until adopt() completes it. `pool` is asked to
  // keep the memory. Destroys nothing: that would make CUDA give the capture up.
  void begin(RunKind kind, char* device_base, DevicePool& pool, CapturedRun run);
  // Where the weights lay; null unless something was begun.
  const char* begun_at() const { return begun_ ? begun_->home : nullptr; }
  // After the capture's end. A run of the same kind is replaced, and runs over other memory are dropped: their weights
  // will not be there. InvalidArgument unless the last begin() was of that kind, and for a graph of
  // other parts than the run's waits make.
  void adopt(RunKind kind, std::unique_ptr<LaunchGraph> graph);

  // Null unless such a run was captured and adopted. One that cannot move is only found with the weights at
  // `device_base`, in memory of `pool` that was not given back since: a copy that an operator makes of a weight means
  // the allocation, not just the address.
  const CapturedRun* find(RunKind kind, const char* device_base, DevicePool& pool) const;
  // The address of the weights in all captured runs, where coming back costs nothing; null while there are none, and
  // after leave_home().
  const char* home() const { return home_; }
  // From now on no memory is kept, and any will do. InvalidArgument if there is a run that cannot move.
  void leave_home();

 private:
  struct Begun {
    RunKind kind;
    char* home = nullptr;
    std::shared_ptr<const void> hold;
    CapturedRun run;
  };
  std::vector<at::Tensor> inputs_;
  std::optional<Begun> begun_;
  char* home_ = nullptr;
  std::shared_ptr<const void> hold_;
  std::map<RunKind, CapturedRun> runs_;
};

// The same tensors without a share in their memory, which a capture's allocator may give to the next capture. What lies
// in host memory was made by the capture itself and is kept. InvalidArgument for what no view of plain memory shows.
std::vector<c10::IValue> without_ownership(const std::vector<c10::IValue>& values);

}  // namespace deepplan
