#pragma once

#include <cstddef>

#include "core/pinned_arena.h"
#include "runtime/plan.h"
#include "runtime/weight_layout.h"

namespace deepplan {

// A model's weights in pinned host memory, contiguous, laid out by a plan. It is the one copy that is always valid:
// evicting a model from a device costs nothing. Loads and in-place reads must be done before it is destroyed or laid
// out again.
class HostWeights {
 public:
  // Takes the memory; contents are the caller's to write through data(). OutOfMemory from the arena.
  HostWeights(PinnedArena& arena, WeightLayout layout);

  char* data() const { return block_.data(); }
  char* data(int tensor) const { return block_.data() + layout_.tensor_offset.at(static_cast<std::size_t>(tensor)); }
  const WeightLayout& layout() const { return layout_; }

  // Moves the tensors to where another layout of the same model has them. Needs room for both; when there is none,
  // OutOfMemory, and nothing has changed. Addresses from data() and loaders made before are void after it.
  void relayout(WeightLayout layout);

 private:
  PinnedArena* arena_;
  WeightLayout layout_;
  PinnedBlock block_;
};

}  // namespace deepplan
