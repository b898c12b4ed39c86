// How a session's runs reach the target: launched whole where they were captured, issued operator by operator
// elsewhere.
#include <ATen/ops/clone.h>

#include <array>
#include <utility>

#include "core/error.h"
#include "torch/autocast.h"
#include "torch/current_stream.h"
#include "torch/executor.h"
#include "torch/session.h"

namespace deepplan {

std::vector<c10::IValue> Session::launch(const CapturedRun& run, const ResidencyLease& lease,
                                         const std::vector<at::Tensor>& inputs, Stream& stream) {
  Target& target = *links_->target;
  const std::vector<at::Tensor>& places = captured_.inputs(program_->graph(), program_->target());
  const PlainDispatch plain_dispatch;
  const std::scoped_lock target_lock(target.mutex);
  for (const std::shared_ptr<Event>& event : lease.last_uses()) {
    if (event) stream.wait(*event);
  }
  if (target.last_captured_run) stream.wait(*target.last_captured_run);
  // Staging buffers may be under way for a cold start that was issued operator by operator.
  if (last_kind_.cold) loader_->join(stream);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    // The caller may write to its tensor as soon as the call returns: a copy from pinned memory must be done by then.
    // One from pageable memory is staged before it returns.
    places[i].copy_(inputs[i], /*non_blocking=*/!inputs[i].is_cpu() || !inputs[i].is_pinned());
  }
  run.graph->launch(stream);
  // At once: whatever fails from here on, the next graph must not run in the same memory before this one is done.
  stream.record(*last_use_);
  target.last_captured_run = last_use_;
  if (timed_) {
    clock_->set_waited(run.layers_that_waited);
    if (last_kind_.cold) loader_->launched(/*timed=*/true);
  }
  std::vector<c10::IValue> outputs;
  for (const c10::IValue& output : run.outputs) {
    const bool is_place = output.isTensor() && output.toTensor().defined();
    outputs.push_back(is_place ? c10::IValue(output.toTensor().clone()) : output);
  }
  stream.record(*last_use_);
  return outputs;
}

std::vector<c10::IValue> Session::issue(const ResidencyLease& lease, std::vector<at::Tensor> inputs, Stream& stream) {
  Target& target = *links_->target;
  for (at::Tensor& input : inputs) {
    if (input.device() != program_->target()) {
      input = input.to(program_->target(), /*non_blocking=*/!input.is_pinned());  // see launch()
    }
  }
  std::vector<c10::IValue> outputs;
  if (last_kind_.cold) {
    const std::scoped_lock target_lock(target.mutex);
    std::vector<std::shared_ptr<Event>> after = lease.last_uses();
    after.push_back(target.last_captured_run);  // which may use the staging buffers
    outputs = issue_cold(lease.data(), after, inputs, stream);
  } else {
    for (const std::shared_ptr<Event>& event : lease.last_uses()) {
      if (event) stream.wait(*event);  // the model may have been brought in on another stream
    }
    outputs = issue_warm(lease.data(), inputs, stream);
  }
  keep_outputs(outputs, lease.data());
  stream.record(*last_use_);
  return outputs;
}

std::vector<c10::IValue> Session::issue_cold(char* device_base, std::span<const std::shared_ptr<Event>> after,
                                             const std::vector<at::Tensor>& inputs, Stream& stream) {
  cold_weights_->set_device_base(device_base);
  if (clock() != nullptr) clock_->begin(stream);
  loader_->begin(device_base, after);
  ColdHook hook(stream, clock(), *loader_, plan_, dropped_wait_);
  std::vector<c10::IValue> outputs = execute(*program_, *cold_weights_, inputs, hook, *links_->target->device);
  loader_->finish();
  return outputs;
}

std::vector<c10::IValue> Session::issue_warm(char* device_base, const std::vector<at::Tensor>& inputs, Stream& stream) {
  warm_weights_->set_device_base(device_base);
  if (clock() != nullptr) clock_->begin(stream);
  WarmHook hook(stream, clock());
  return execute(*program_, *warm_weights_, inputs, hook, *links_->target->device);
}

void Session::prepare_capture() {
  const std::scoped_lock lock(mutex_);
  captured_.inputs(program_->graph(), program_->target());
  make_clock();
}

void Session::make_clock() {
  if (clock_ != nullptr) return;
  clock_ = std::make_unique<LayerClock>(*links_->target->device, program_->graph().layers.size());
}

// While it lives, runs are timed or not as the capture wants, and pieces wait for none that were sent before.
class Session::CaptureScope {
 public:
  CaptureScope(Session& session, bool timed) : session_(session), was_timed_(session.timed_) {
    set_timed(timed);
    session_.links_->links.begin_capture();
  }
  ~CaptureScope() {
    session_.links_->links.end_capture();
    set_timed(was_timed_);
  }
  CaptureScope(const CaptureScope&) = delete;
  CaptureScope& operator=(const CaptureScope&) = delete;

 private:
  void set_timed(bool timed) {
    session_.timed_ = timed;
    session_.loader_->set_timed(timed);
  }
  Session& session_;
  bool was_timed_;
};

void Session::capture(RunKind kind) {
  const std::scoped_lock lock(mutex_);
  Target& target = *links_->target;
  const std::unique_ptr<Stream> stream = current_stream(*target.device, program_->target());
  const ResidencyLease lease = acquire();
  if (!lease.was_loaded() || clock_ == nullptr) {
    throw InvalidArgument("only a resident model can be captured, after prepare_capture(): run it once before");
  }
  const std::vector<at::Tensor>& inputs = captured_.inputs(program_->graph(), program_->target());
  const CaptureScope scope(*this, kind.timed);
  std::vector<c10::IValue> outputs;
  if (kind.cold) {
    const std::shared_ptr<Event> begun = target.device->create_event();
    stream->record(*begun);  // the load streams join the capture by waiting for it, and leave it by being joined
    outputs = issue_cold(lease.data(), std::array{begun}, inputs, *stream);
    loader_->join(*stream);
  } else {
    outputs = issue_warm(lease.data(), inputs, *stream);
  }
  keep_outputs(outputs, lease.data());
  CapturedRun run{.graph = nullptr, .outputs = without_ownership(outputs), .layers_that_waited = {}};
  if (kind.timed) run.layers_that_waited = clock_->waited();
  captured_.begin(kind, lease.data(), target.pool, std::move(run));
}

void Session::adopt(RunKind kind, void* captured) {
  const std::scoped_lock lock(mutex_);
  captured_.adopt(kind, links_->target->device->instantiate(captured));
}

bool Session::last_was_captured() const {
  const std::scoped_lock lock(mutex_);
  return last_was_captured_;
}

}  // namespace deepplan
