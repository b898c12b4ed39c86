// Autocast regions of a graph, and everything else of the caller's thread state that must not reach it.
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/stack.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <vector>

namespace deepplan {

// For the length of a run: no gradients, the caller's autocast and dispatch modes shut out, results ordinary tensors
// (inference mode would make them useless to a caller who computes gradients with them). Autograd keys alone do not
// turn gradients off, nor the other way round; both are needed.
class PlainDispatch {
 public:
  PlainDispatch();

 private:
  at::NoGradGuard no_grad_;
  at::AutoDispatchBelowAutograd below_autograd_;
  c10::impl::ExcludeDispatchKeyGuard no_modes_;
  c10::impl::ExcludeDispatchKeyGuard no_autocast_;
};

// The autocast regions a run is in. Leaves the thread as it found it, also when the run throws inside a region.
class AutocastRegions {
 public:
  AutocastRegions() = default;
  ~AutocastRegions();
  AutocastRegions(const AutocastRegions&) = delete;
  AutocastRegions& operator=(const AutocastRegions&) = delete;

  // Operands as the graph has them: device type, dtype, enabled, cache enabled. A region for a device type that the
  // run is not on has no effect, as in eager mode.
  void enter(const torch::jit::Stack& operands);
  void exit();

 private:
  struct Saved {
    c10::DeviceType device;
    bool was_enabled;
    at::ScalarType dtype;
    bool was_cache_enabled;
  };
  std::vector<Saved> saved_;
};

}  // namespace deepplan
