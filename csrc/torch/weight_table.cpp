#include "torch/weight_table.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <utility>

#include "torch/value_conversion.h"

namespace deepplan {
namespace {

// The target is always named: left alone, torch asks the driver whose memory it is, and host memory then belongs to
// whichever GPU was current when it was allocated.
at::Tensor bytes_at(char* address, std::size_t size_bytes, c10::Device device) {
  return at::for_blob(address, {static_cast<int64_t>(size_bytes)})
      .options(at::TensorOptions().dtype(at::kByte).device(device))
      .target_device(device)
      .make_tensor();
}

at::Tensor view_of(const at::Tensor& storage, const WeightSpec& weight) {
  const at::ScalarType dtype = scalar_type_from_name(weight.dtype);
  at::Tensor view = at::empty({0}, storage.options().dtype(dtype));
  const auto item_bytes = static_cast<int64_t>(c10::elementSize(dtype));
  view.set_(storage.storage(), weight.offset_bytes / item_bytes, weight.shape, weight.stride);
  return view;
}

}  // namespace

std::vector<int> storage_owners(const Graph& graph) {
  std::vector<int> owner(graph.storage_bytes.size(), -1);
  for (std::size_t layer = 0; layer < graph.layers.size(); ++layer) {
    for (const int storage : graph.layers[layer].storages) owner[storage] = static_cast<int>(layer);
  }
  return owner;
}

std::vector<bool> uses_on_device(const Program& program, const ExecutionPlan& plan) {
  const std::vector<int> owner = storage_owners(program.graph());
  std::vector<int> latest_group(plan.group.size(), -1);  // that has been waited for when a layer runs
  for (std::size_t layer = 0; layer < plan.group.size(); ++layer) {
    latest_group[layer] = std::max(layer == 0 ? -1 : latest_group[layer - 1], plan.group[layer]);
  }
  std::vector<bool> on_device;
  for (const WeightUse& use : program.uses()) {
    const int owning_layer = owner[program.graph().weights[use.weight].storage];
    const int group = owning_layer < 0 ? -1 : plan.group[owning_layer];
    on_device.push_back(group >= 0 && group <= latest_group[use.layer]);
  }
  return on_device;
}

std::vector<bool> uses_on_device(const Program& program, const WeightLayout& layout) {
  std::vector<bool> on_device;
  for (const WeightUse& use : program.uses()) {
    on_device.push_back(layout.tensor_resident[program.graph().weights[use.weight].storage]);
  }
  return on_device;
}

WeightTable::WeightTable(const Program& program, std::vector<bool> on_device, const WeightLayout& layout,
                         const std::vector<char*>& in_place)
    : layout_(layout), target_(program.target()), on_device_(std::move(on_device)) {
  const Graph& graph = program.graph();
  std::vector<at::Tensor> host_storages;
  for (std::size_t storage = 0; storage < graph.storage_bytes.size(); ++storage) {
    const std::size_t size_bytes = graph.storage_bytes[storage];
    char* const host_address = in_place[storage];
    host_storages.push_back(bytes_at(host_address, size_bytes, target_));
    const bool is_resident = layout_.tensor_resident[storage];
    device_storages_.push_back(is_resident ? bytes_at(host_address, size_bytes, target_) : at::Tensor());
  }
  for (std::size_t use = 0; use < program.uses().size(); ++use) {
    const WeightSpec& weight = graph.weights[program.uses()[use].weight];
    const auto& storages = on_device_[use] ? device_storages_ : host_storages;
    uses_.emplace_back(view_of(storages[weight.storage], weight));
  }
}

void WeightTable::set_device_base(char* device_base) {
  if (device_base == device_base_) return;
  device_base_ = device_base;
  for (std::size_t storage = 0; storage < device_storages_.size(); ++storage) {
    if (!device_storages_[storage].defined()) continue;
    char* address = device_base == nullptr ? nullptr : device_base + layout_.tensor_offset[storage];
    device_storages_[storage].storage().set_data_ptr_noswap(at::DataPtr(address, target_));
  }
}

}  // namespace deepplan
