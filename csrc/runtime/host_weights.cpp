#include "runtime/host_weights.h"

#include <cstring>
#include <utility>

#include "core/error.h"

namespace deepplan {

HostWeights::HostWeights(PinnedArena& arena, WeightLayout layout)
    : arena_(&arena), layout_(std::move(layout)), block_(arena.allocate(layout_.total_bytes)) {}

void HostWeights::relayout(WeightLayout layout) {
  if (layout.tensor_bytes != layout_.tensor_bytes) {
    throw InvalidArgument("the new layout is another model's: its tensors differ in number or size");
  }
  PinnedBlock block = arena_->allocate(layout.total_bytes);
  for (std::size_t tensor = 0; tensor < layout.tensor_bytes.size(); ++tensor) {
    const std::size_t bytes = layout.tensor_bytes[tensor];
    if (bytes > 0) {
      std::memcpy(block.data() + layout.tensor_offset[tensor], block_.data() + layout_.tensor_offset[tensor], bytes);
    }
  }
  block_ = std::move(block);
  layout_ = std::move(layout);
}

}  // namespace deepplan
