#include "runtime/host_weights.h"

#include <utility>
#include <vector>

#include "core/error.h"
#include "runtime/parallel_copy.h"

namespace deepplan {

HostWeights::HostWeights(PinnedArena& arena, WeightLayout layout)
    : arena_(&arena), layout_(std::move(layout)), block_(arena.allocate(layout_.total_bytes)) {}

void HostWeights::relayout(WeightLayout layout) {
  if (layout.tensor_bytes != layout_.tensor_bytes) {
    throw InvalidArgument("the new layout is another model's: its tensors differ in number or size");
  }
  PinnedBlock block = arena_->allocate(layout.total_bytes);
  std::vector<CopyRange> moves;
  for (std::size_t tensor = 0; tensor < layout.tensor_bytes.size(); ++tensor) {
    moves.push_back({block.data() + layout.tensor_offset[tensor], block_.data() + layout_.tensor_offset[tensor],
                     layout.tensor_bytes[tensor]});
  }
  parallel_copy(moves);
  block_ = std::move(block);
  layout_ = std::move(layout);
}

}  // namespace deepplan
