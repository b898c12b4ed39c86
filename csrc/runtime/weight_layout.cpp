#include "runtime/weight_layout.h"

namespace deepplan {
namespace {

// Puts tensors one behind the other.
class Packer {
 public:
  Packer(const ModelWeights& weights, WeightLayout& layout) : weights_(weights), layout_(layout) {}

  void put(int tensor, bool resident) {
    const auto index = static_cast<std::size_t>(tensor);
    layout_.tensor_offset[index] = end_;
    layout_.tensor_resident[index] = resident;
    end_ += aligned(weights_.tensor_bytes[index]);
  }
  std::size_t end() const { return end_; }

 private:
  static std::size_t aligned(std::size_t bytes) {
    return (bytes + kTensorAlignmentBytes - 1) / kTensorAlignmentBytes * kTensorAlignmentBytes;
  }
  const ModelWeights& weights_;
  WeightLayout& layout_;
  std::size_t end_ = 0;
};

}  // namespace

WeightLayout lay_out(const ModelWeights& weights, const ExecutionPlan& plan, const std::vector<bool>& promotable) {
  WeightLayout layout;
  layout.tensor_offset.resize(weights.tensor_bytes.size());
  layout.tensor_bytes = weights.tensor_bytes;
  layout.tensor_resident.resize(weights.tensor_bytes.size());
  Packer packer(weights, layout);
  std::vector<int> promoted, staying;
  for (std::size_t layer = 0; layer < weights.layer_tensors.size(); ++layer) {
    if (plan.group[layer] < 0) {
      for (const int tensor : weights.layer_tensors[layer]) {
        const bool is_promoted = !promotable.empty() && promotable[static_cast<std::size_t>(tensor)];
        (is_promoted ? promoted : staying).push_back(tensor);
      }
      continue;
    }
    const auto group = static_cast<std::size_t>(plan.group[layer]);
    if (group == layout.groups.size()) layout.groups.push_back({packer.end(), 0});
    for (const int tensor : weights.layer_tensors[layer]) packer.put(tensor, /*resident=*/true);
    layout.groups.back().bytes = packer.end() - layout.groups.back().offset;
  }
  layout.loaded_bytes = packer.end();
  for (const int tensor : promoted) packer.put(tensor, /*resident=*/true);
  layout.resident_bytes = packer.end();
  for (const int tensor : staying) packer.put(tensor, /*resident=*/false);
  layout.total_bytes = packer.end();
  return layout;
}

}  // namespace deepplan
