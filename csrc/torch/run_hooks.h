// What happens around the layers of a run: waiting for weights, issuing copies, taking times.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "core/device.h"
#include "runtime/loader.h"
#include "runtime/plan.h"
#include "torch/executor.h"

namespace deepplan {

struct LayerTimes {
  double start_ms = 0;  // after the wait for its weights
  double end_ms = 0;
};

// Events around every layer that began a new wait, and behind every layer, all after one reference.
class LayerClock {
 public:
  LayerClock(Device& device, std::size_t layers);

  void begin(Stream& stream);                   // puts the reference
  void start_layer(int layer, Stream& stream);  // only after a wait: elsewhere a layer starts where the last one ends
  void end_layer(int layer, Stream& stream);

  const Event& reference() const { return *reference_; }
  // Which layers of the run began with a wait: to be put back before the times of a run that was captured are read.
  std::vector<bool> waited() const { return waited_; }
  void set_waited(std::vector<bool> waited) { waited_ = std::move(waited); }
  // Waits for the last layer.
  std::vector<LayerTimes> times_ms() const;

 private:
  std::unique_ptr<Event> reference_;
  std::vector<std::unique_ptr<Event>> starts_;
  std::vector<std::unique_ptr<Event>> ends_;
  std::vector<bool> waited_;
};

// A warm run waits for nothing.
class WarmHook : public LayerHook {
 public:
  WarmHook(Stream& stream, LayerClock* clock) : stream_(stream), clock_(clock) {}
  void before_layer(int) override {}
  void after_layer(int layer) override {
    if (clock_ != nullptr) clock_->end_layer(layer, stream_);
  }

 protected:
  Stream& stream_;
  LayerClock* clock_;  // null when nobody wants times
};

// Copies issued before the first kernel, and before each layer or captured part afterwards. Enough for the copy engines
// never to run dry: a piece travels for tens of microseconds at least, a layer's launches take a few.
inline constexpr std::size_t kPiecesAhead = 8;
inline constexpr std::size_t kPiecesPerStep = 4;

// A cold run waits once a group, at the first layer that needs it, and issues copies between launches so that neither
// the copy engines nor the first kernels wait for the host.
class ColdHook : public WarmHook {
 public:
  ColdHook(Stream& stream, LayerClock* clock, Loader& loader, const ExecutionPlan& plan, int dropped_wait)
      : WarmHook(stream, clock), loader_(loader), plan_(plan), dropped_wait_(dropped_wait) {}
  void before_layer(int layer) override;

 private:
  Loader& loader_;
  const ExecutionPlan& plan_;
  int dropped_wait_;  // a group whose wait is left out, -1 for none: lets a test see that its absence is seen
  int waited_group_ = -1;
};

// Captures a cold run: cuts it where the run would wait, and keeps for which group.
class CaptureHook : public WarmHook {
 public:
  // `mark` as Stream::cut() wants it.
  CaptureHook(Stream& stream, LayerClock* clock, const ExecutionPlan& plan, const Event& mark)
      : WarmHook(stream, clock), plan_(plan), mark_(mark) {}
  void before_layer(int layer) override;
  const std::vector<int>& waits() const { return waits_; }

 private:
  const ExecutionPlan& plan_;
  const Event& mark_;
  std::vector<int> waits_;
};

}  // namespace deepplan
