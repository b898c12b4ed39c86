#include "runtime/weight_layout.h"

namespace deepplan {
namespace {

// Puts tensors one behind the other.
class Packer {
 public:
  Packer(const ModelWeights& weights, WeightLayout& layout) : weights_(weights), layout_(layout) {}

  void put(std::size_t layer, bool loaded) {
    for (const int tensor : weights_.layer_tensors[layer]) {
      const auto index = static_cast<std::size_t>(tensor);
      layout_.tensor_offset[index] = end_;
      layout_.tensor_loaded[index] = loaded;
      end_ += aligned(weights_.tensor_bytes[index]);
    }
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

WeightLayout lay_out(const ModelWeights& weights, const ExecutionPlan& plan) {
  WeightLayout layout;
  layout.tensor_offset.resize(weights.tensor_bytes.size());
  layout.tensor_bytes = weights.tensor_bytes;
  layout.tensor_loaded.resize(weights.tensor_bytes.size());
  Packer packer(weights, layout);
  const std::size_t layers = weights.layer_tensors.size();
  for (std::size_t layer = 0; layer < layers; ++layer) {
    if (plan.group[layer] < 0) continue;
    const auto group = static_cast<std::size_t>(plan.group[layer]);
    if (group == layout.groups.size()) layout.groups.push_back({packer.end(), 0});
    packer.put(layer, true);
    layout.groups.back().bytes = packer.end() - layout.groups.back().offset;
  }
  layout.loaded_bytes = packer.end();
  for (std::size_t layer = 0; layer < layers; ++layer) {
    if (plan.group[layer] < 0) packer.put(layer, false);
  }
  layout.total_bytes = packer.end();
  return layout;
}

}  // namespace deepplan
