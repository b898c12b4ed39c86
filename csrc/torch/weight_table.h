// Where each use of a weight finds its bytes: in device memory, or in the host copy, read in place.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <vector>

#include "runtime/plan.h"
#include "runtime/weight_layout.h"
#include "torch/program.h"

namespace deepplan {

// The layer that owns each storage of the graph.
std::vector<int> storage_owners(const Graph& graph);

// One flag a use. A use reads the device copy if its storage is loaded by then: with its own layer's group or an
// earlier one. An embedding that shares its table with a later output head therefore reads the table in place.
std::vector<bool> uses_on_device(const Program& program, const ExecutionPlan& plan);

// The same for a warm start, where all that the layout has on the device is there.
std::vector<bool> uses_on_device(const Program& program, const WeightLayout& layout);

// Tensors over memory that is not theirs. Made once for a layout; moving the device copy changes one pointer a storage
// and no tensor, so that a cold start at a new address costs microseconds.
class WeightTable {
 public:
  // `on_device` has one flag a use; `in_place` is where each storage lies in host memory, as the device addresses it.
  WeightTable(const Program& program, std::vector<bool> on_device, const WeightLayout& layout,
              const std::vector<char*>& in_place);

  // `device_base` is where the layout's resident prefix lies from now on; null while the model is not resident.
  void set_device_base(char* device_base);

  const c10::IValue& at(int use) const { return uses_[use]; }
  bool is_in_place(int use) const { return !on_device_[use]; }

 private:
  WeightLayout layout_;
  c10::Device target_;
  std::vector<bool> on_device_;
  std::vector<at::Tensor> device_storages_;  // bytes; undefined for a storage that is only read in place
  std::vector<c10::IValue> uses_;
  char* device_base_ = nullptr;
};

}  // namespace deepplan
