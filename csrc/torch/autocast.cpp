#include "torch/autocast.h"

#include <ATen/autocast_mode.h>

#include "core/error.h"

namespace deepplan {

PlainDispatch::PlainDispatch()
    : no_modes_(c10::DispatchKeySet(
          {c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot, c10::DispatchKey::Functionalize})),
      no_autocast_(c10::autocast_dispatch_keyset) {}

AutocastRegions::~AutocastRegions() {
  while (!saved_.empty()) exit();
}

void AutocastRegions::enter(const torch::jit::Stack& operands) {
  if (operands.size() != 4) throw InvalidArgument("an autocast region needs device, dtype, enabled and cache");
  const c10::DeviceType device = operands[0].toDevice().type();
  saved_.push_back({device, at::autocast::is_autocast_enabled(device), at::autocast::get_autocast_dtype(device),
                    at::autocast::is_autocast_cache_enabled()});
  if (!operands[1].isNone()) {
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(operands[1].toInt()));
  }
  at::autocast::set_autocast_enabled(device, operands[2].toBool());
  at::autocast::set_autocast_cache_enabled(false);  // the cache keeps casts of weights alive past their residency
}

void AutocastRegions::exit() {
  if (saved_.empty()) throw InvalidArgument("the graph leaves an autocast region it did not enter");
  const Saved saved = saved_.back();
  saved_.pop_back();
  at::autocast::set_autocast_enabled(saved.device, saved.was_enabled);
  at::autocast::set_autocast_dtype(saved.device, saved.dtype);
  at::autocast::set_autocast_cache_enabled(saved.was_cache_enabled);
}

}  // namespace deepplan
