// How a session's runs reach the target: by launches of captured parts, or operator by operator where they were not
// captured.
#include <ATen/ops/clone.h>

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
  const std::vector<at::Tensor>& places = captured_->inputs(program_->graph(), program_->target());
  const PlainDispatch plain_dispatch;
  const std::scoped_lock target_lock(target.mutex);
  if (clock() != nullptr) {
    clock_->begin(stream);
    clock_->set_waited(run.layers_that_waited);
  }
  if (target.last_captured_run) stream.wait(*target.last_captured_run);
  const auto copy_inputs = [&](bool from_host) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].is_cpu() != from_host) continue;
      // The caller may write to its tensor as soon as the call returns: a copy from pinned memory must be done by
      // then. One from pageable memory is staged before it returns.
      places[i].copy_(inputs[i], /*non_blocking=*/!from_host || !inputs[i].is_pinned());
    }
  };
  copy_inputs(/*from_host=*/true);  // before weights that travel the same link
  if (last_kind_.cold) {
    way_->loader().begin(lease.data(), lease.last_uses());
    way_->loader().issue(kPiecesAhead);
  } else {
    for (const std::shared_ptr<Event>& event : lease.last_uses()) {
      if (event) stream.wait(*event);
    }
  }
  copy_inputs(/*from_host=*/false);
  // Whatever fails: the next graph must not run in the same memory before this one is done.
  const auto end_use = [&] {
    stream.record(*last_use_);
    target.last_captured_run = last_use_;
  };
  try {
    if (run.graph->span_count() > 0) run.graph->move_to({lease.data(), in_place_begin_});
    launch_parts(run, stream);
  } catch (...) {
    end_use();
    throw;
  }
  end_use();
  std::vector<c10::IValue> outputs;
  for (const c10::IValue& output : run.outputs) {
    const bool is_place = output.isTensor() && output.toTensor().defined();
    outputs.push_back(is_place ? c10::IValue(output.toTensor().clone()) : output);
  }
  stream.record(*last_use_);
  return outputs;
}

void Session::launch_parts(const CapturedRun& run, Stream& stream) {
  Loader& loader = way_->loader();
  int waited = -1;  // the last of the loader's groups
  for (int part = 0; part < run.graph->part_count(); ++part) {
    if (part > 0) {
      const int group = run.waits[static_cast<std::size_t>(part) - 1];
      for (const int last = way_->last_group(group); waited < last;) {
        const Event& ready = loader.require(++waited);
        if (group != dropped_wait_) stream.wait(ready);
      }
    }
    run.graph->launch(part, stream);
    if (last_kind_.cold) loader.issue(kPiecesPerStep);
  }
  if (last_kind_.cold) loader.finish();
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
    outputs = issue_cold(lease, inputs, stream);
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

std::vector<c10::IValue> Session::issue_cold(const ResidencyLease& lease, const std::vector<at::Tensor>& inputs,
                                             Stream& stream) {
  cold_weights_->set_device_base(lease.data());
  if (clock() != nullptr) clock_->begin(stream);
  way_->loader().begin(lease.data(), lease.last_uses());
  ColdHook hook(stream, clock(), way_->loader(), way_->plan(), dropped_wait_);
  std::vector<c10::IValue> outputs = execute(*program_, *cold_weights_, inputs, hook, *links_->target->device);
  way_->loader().finish();
  return outputs;
}

std::vector<c10::IValue> Session::issue_warm(char* device_base, const std::vector<at::Tensor>& inputs, Stream& stream) {
  warm_weights_->set_device_base(device_base);
  if (clock() != nullptr) clock_->begin(stream);
  WarmHook hook(stream, clock());
  return execute(*program_, *warm_weights_, inputs, hook, *links_->target->device);
}

void Session::make_clock() {
  if (clock_ != nullptr) return;
  clock_ = std::make_unique<LayerClock>(*links_->target->device, program_->graph().layers.size());
}

bool Session::last_was_captured() const {
  const std::scoped_lock lock(mutex_);
  return last_was_captured_;
}

}  // namespace deepplan
