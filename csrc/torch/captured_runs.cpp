#include "torch/captured_runs.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <string>
#include <utility>

#include "core/error.h"
#include "torch/value_conversion.h"

namespace deepplan {
namespace {

bool can_move(const CapturedRun& run) { return run.graph->span_count() > 0; }

}  // namespace

const std::vector<at::Tensor>& CapturedRuns::inputs(const Graph& graph, c10::Device target) {
  if (inputs_.empty()) {
    const c10::InferenceMode ordinary(false);  // they are written to whatever mode a caller is in
    for (const InputSpec& spec : graph.inputs) {
      const auto options = at::TensorOptions().dtype(scalar_type_from_name(spec.dtype)).device(target);
      inputs_.push_back(at::zeros(spec.shape, options));
    }
  }
  return inputs_;
}

void CapturedRuns::begin(RunKind kind, char* device_base, DevicePool& pool, CapturedRun run) {
  begun_.reset();  // one that failed before it had a graph
  begun_ = Begun{.kind = kind, .home = device_base, .hold = pool.hold(device_base), .run = std::move(run)};
}

void CapturedRuns::adopt(RunKind kind, std::unique_ptr<LaunchGraph> graph) {
  if (!begun_ || begun_->kind != kind) throw InvalidArgument("no such run was captured");
  Begun begun = *std::exchange(begun_, std::nullopt);
  const std::size_t parts = begun.run.waits.size() + 1;
  if (graph == nullptr || static_cast<std::size_t>(graph->part_count()) != parts) {
    throw InvalidArgument("a capture with " + std::to_string(parts - 1) + " waits fell into " +
                          (graph == nullptr ? "no" : std::to_string(graph->part_count())) +
                          " parts: an operator waits for an event outside of the capture");
  }
  if (begun.home != home_ || begun.hold != hold_) {
    runs_.clear();
    home_ = begun.home;
    hold_ = std::move(begun.hold);
  }
  begun.run.graph = std::move(graph);
  runs_.insert_or_assign(kind, std::move(begun.run));
}

const CapturedRun* CapturedRuns::find(RunKind kind, const char* device_base, DevicePool& pool) const {
  const auto run = runs_.find(kind);
  if (run == runs_.end()) return nullptr;
  const bool is_home = device_base == home_ && pool.hold(device_base) == hold_;
  return is_home || can_move(run->second) ? &run->second : nullptr;
}

void CapturedRuns::leave_home() {
  for (const auto& [kind, run] : runs_) {
    if (!can_move(run)) throw InvalidArgument("what was captured cannot be moved: it needs its home");
  }
  home_ = nullptr;
  hold_.reset();
}

std::vector<c10::IValue> without_ownership(const std::vector<c10::IValue>& values) {
  std::vector<c10::IValue> views;
  for (const c10::IValue& value : values) {
    if (!value.isTensor() || !value.toTensor().defined() || value.toTensor().is_cpu()) {
      views.push_back(value);
      continue;
    }
    const at::Tensor& tensor = value.toTensor();
    if (tensor.is_conj() || tensor.is_neg()) throw InvalidArgument("an output is a lazy conjugate or negative");
    views.emplace_back(at::for_blob(tensor.data_ptr(), tensor.sizes())
                           .strides(tensor.strides())
                           .options(tensor.options())
                           .target_device(tensor.device())
                           .make_tensor());
  }
  return views;
}

}  // namespace deepplan
