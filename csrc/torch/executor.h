// The loop that runs a program.
#pragma once

#include <ATen/core/stack.h>

#include <vector>

#include "core/device.h"
#include "torch/program.h"
#include "torch/weight_table.h"

namespace deepplan {

// What has to happen around layers: waiting for weights, issuing copies, taking times. Also where a scheduler that
// shares a GPU between models gets its word in.
class LayerHook {
 public:
  virtual ~LayerHook() = default;
  virtual void before_layer(int layer) = 0;
  virtual void after_layer(int layer) = 0;
};

// Runs every step in order on the calling thread and returns the flattened outputs. Kernels go to torch's current
// stream. `inputs` are the tensors of the graph's inputs, in their order, already checked: raw operators check nothing
// (an LSTM called with a wrong batch corrupts memory). In-place reads are charged to `device`'s link before the step
// that makes them, which only a simulated link notices. A throwing operator leaves nothing behind.
std::vector<c10::IValue> execute(const Program& program, const WeightTable& weights,
                                 const std::vector<at::Tensor>& inputs, LayerHook& hook, Device& device);

}  // namespace deepplan
