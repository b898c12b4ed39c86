#include "torch/run_hooks.h"

namespace deepplan {

LayerClock::LayerClock(Device& device, std::size_t layers)
    : reference_(device.create_event(EventKind::Timed)), starts_(layers), ends_(layers), waited_(layers, false) {
  for (std::size_t i = 0; i < layers; ++i) {
    starts_[i] = device.create_event(EventKind::Timed);
    ends_[i] = device.create_event(EventKind::Timed);
  }
}

void LayerClock::begin(Stream& stream) {
  waited_.assign(waited_.size(), false);
  stream.record(*reference_);
}

void LayerClock::start_layer(int layer, Stream& stream) {
  waited_[layer] = true;
  stream.record(*starts_[layer]);
}

void LayerClock::end_layer(int layer, Stream& stream) { stream.record(*ends_[layer]); }

std::vector<LayerTimes> LayerClock::times_ms() const {
  std::vector<LayerTimes> times(ends_.size());
  if (!ends_.empty()) ends_.back()->synchronize();
  double previous_end_ms = 0;
  for (std::size_t i = 0; i < times.size(); ++i) {
    times[i].start_ms = waited_[i] ? starts_[i]->elapsed_ms_since(*reference_) : previous_end_ms;
    times[i].end_ms = previous_end_ms = ends_[i]->elapsed_ms_since(*reference_);
  }
  return times;
}

void ColdHook::before_layer(int layer) {
  loader_.issue(layer == 0 ? kPiecesAhead : kPiecesPerStep);
  const int group = plan_.group[layer];
  if (group <= waited_group_) return;
  const Event& ready = loader_.require(group);
  if (group != dropped_wait_) stream_.wait(ready);
  waited_group_ = group;
  if (clock_ != nullptr) clock_->start_layer(layer, stream_);
}

void CaptureHook::before_layer(int layer) {
  const int group = plan_.group[layer];
  if (group < 0 || (!waits_.empty() && group <= waits_.back())) return;
  stream_.cut(mark_);
  waits_.push_back(group);
  if (clock_ != nullptr) clock_->start_layer(layer, stream_);
}

}  // namespace deepplan
