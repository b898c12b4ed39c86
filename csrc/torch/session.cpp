#include "torch/session.h"

#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/error.h"
#include "torch/current_stream.h"
#include "torch/torch_error.h"
#include "torch/value_conversion.h"

namespace deepplan {
namespace {

// Residency knows models by name; two sessions of one model are two residents.
std::string unique_name(const std::string& name) {
  static std::atomic<std::uint64_t> count{0};
  return name + "#" + std::to_string(count++);
}

std::string describe(at::IntArrayRef shape, const std::string& dtype) {
  std::string text = dtype + "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

ModelWeights model_weights(const Graph& graph) {
  ModelWeights weights{.tensor_bytes = graph.storage_bytes, .layer_tensors = {}};
  for (const Layer& layer : graph.layers) weights.layer_tensors.push_back(layer.storages);
  return weights;
}

Session::Session(std::string name, std::shared_ptr<const Program> program, std::shared_ptr<SharedLinks> links,
                 PinnedArena& arena, ExecutionPlan plan, bool promote)
    : name_(unique_name(name)),
      program_(std::move(program)),
      links_(std::move(links)),
      arena_(arena),
      plan_(std::move(plan)),
      promote_(promote) {
  const ModelWeights weights = model_weights(program_->graph());
  validate(plan_, weights, links_->links.count());
  host_ = std::make_unique<HostWeights>(arena_, lay_out(plan_));
  bind();
}

Session::Session(std::string name, std::shared_ptr<const Program> program, std::shared_ptr<SharedLinks> links,
                 PinnedArena& arena, ExecutionPlan plan, bool promote, const HostCopy& copy)
    : name_(unique_name(name)),
      program_(std::move(program)),
      links_(std::move(links)),
      arena_(arena),
      plan_(std::move(plan)),
      promote_(promote) {
  validate(plan_, model_weights(program_->graph()), links_->links.count());
  const std::vector<std::optional<GroupCoding>> coded = codings();
  if (std::any_of(copy.coded_bytes.begin(), copy.coded_bytes.end(), [](const auto& bytes) { return !bytes.empty(); })) {
    prepare_decoding(coded);
  }
  host_ = std::make_shared<HostWeights>(arena_, lay_out(plan_), copy, coded);
  bind();
}

Session::Session(const Session& other, std::shared_ptr<const Program> program, std::shared_ptr<SharedLinks> links)
    : name_(other.name_),  // the device copy's name on its target: sessions there share it
      program_(std::move(program)),
      links_(std::move(links)),
      arena_(other.arena_),
      plan_(other.plan_),
      host_(other.host_),
      plan_for_(other.plan_for_),
      promote_(other.promote_) {
  if (model_weights(program_->graph()) != model_weights(other.program_->graph())) {
    throw InvalidArgument("another graph's host copy cannot be used: the weights of both must be the same");
  }
  validate(plan_, model_weights(program_->graph()), links_->links.count());
  bind();
}

Session::~Session() {
  try {
    leave();
  } catch (const std::exception&) {
    // A failed device is reported by the next call that uses it; there is nobody to tell here.
  }
}

void Session::check(const std::vector<at::Tensor>& inputs) const {
  const std::vector<InputSpec>& specs = program_->graph().inputs;
  if (inputs.size() != specs.size()) {
    throw InvalidArgument("the model takes " + std::to_string(specs.size()) + " tensors, not " +
                          std::to_string(inputs.size()));
  }
  const c10::Device target = program_->target();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const at::Tensor& input = inputs[i];
    const InputSpec& spec = specs[i];
    if (input.sizes() != at::IntArrayRef(spec.shape) || input.scalar_type() != scalar_type_from_name(spec.dtype)) {
      throw InvalidArgument("input " + spec.name + " is " +
                            describe(input.sizes(), c10::toString(input.scalar_type())) + "; this plan is for " +
                            describe(spec.shape, spec.dtype) + ": plan the model for this signature too");
    }
    if (input.layout() != at::kStrided) {
      throw InvalidArgument("input " + spec.name + " is " + (input.is_sparse() ? "sparse" : "not strided") +
                            "; the model takes dense tensors: call to_dense() on it");
    }
    if (input.device() != target && !input.device().is_cpu()) {
      throw InvalidArgument("input " + spec.name + " is on " + input.device().str() + "; the model runs on " +
                            target.str() + ": move it there or to the CPU");
    }
  }
}

std::vector<c10::IValue> Session::run(std::vector<at::Tensor> inputs) {
  const std::scoped_lock lock(mutex_);
  Target& target = *links_->target;
  const c10::OptionalDeviceGuard guard(program_->target().is_cpu() ? std::nullopt
                                                                   : std::make_optional(program_->target()));
  if (way_ == nullptr) throw Error("no plan could be bound when the last one was replaced: load the model again");
  check(inputs);
  for (at::Tensor& input : inputs) input = input.detach();
  has_times_ = false;
  const std::unique_ptr<Stream> stream = current_stream(*target.device, program_->target());
  ResidencyLease lease = acquire();
  const bool is_cold = !lease.was_loaded();
  const std::vector<std::shared_ptr<Event>> before = lease.last_uses();
  if (is_cold || last_use_ == nullptr) last_use_ = target.device->create_event();
  try {
    std::vector<c10::IValue> outputs = run_with(lease, inputs, *stream);
    lease.set_last_use(is_cold ? way_->loader().promote(lease.data(), last_use_, before) : last_use_);
    lease.mark_loaded();
    return outputs;
  } catch (const c10::Error& error) {
    settle();
    throw_as_ours(error);
  } catch (...) {
    settle();
    throw;
  }
}

std::vector<c10::IValue> Session::answer(std::vector<at::Tensor> inputs) {
  std::vector<c10::IValue> results = run(std::move(inputs));
  // A copy to ordinary memory that has to wait keeps the GPU's context locked meanwhile: whoever loads through this GPU
  // could issue nothing for as long as the run takes.
  current_stream(*links_->target->device, program_->target())->synchronize();
  for (c10::IValue& result : results) {
    if (result.isTensor()) result = result.toTensor().cpu();
  }
  return results;
}

ResidencyLease Session::acquire() {
  return links_->target->residency.acquire(name_, host_->layout().resident_bytes, captured_->home());
}

// The lease of a run that failed gives its memory back: nothing may be on its way into it, or still read it.
void Session::settle() {
  const std::scoped_lock target_lock(links_->target->mutex);  // nobody captures on these streams meanwhile
  way_->loader().synchronize();
  links_->target->device->synchronize();
}

std::vector<c10::IValue> Session::run_with(ResidencyLease& lease, const std::vector<at::Tensor>& inputs,
                                           Stream& stream) {
  last_kind_ = {.cold = !lease.was_loaded(), .timed = timed_};
  const CapturedRun* const captured = captured_->find(last_kind_, lease.data(), links_->target->pool);
  last_was_captured_ = captured != nullptr;
  std::vector<c10::IValue> outputs =
      captured != nullptr ? launch(*captured, lease, inputs, stream) : issue(lease, inputs, stream);
  has_times_ = timed_;
  return outputs;
}

// A result that is a view of a weight would change when the memory goes to another model.
void Session::keep_outputs(std::vector<c10::IValue>& outputs, const char* device_base,
                           std::ptrdiff_t host_shift) const {
  const WeightLayout& layout = host_->layout();
  const auto lies_in = [](const char* address, const char* base, std::size_t bytes) {
    return base != nullptr && address >= base && address < base + bytes;
  };
  for (c10::IValue& output : outputs) {
    if (!output.isTensor() || !output.toTensor().defined()) continue;
    const auto* address = static_cast<const char*>(output.toTensor().const_data_ptr());
    if (lies_in(address, device_base, layout.resident_bytes) ||
        lies_in(address, host_->begin() + host_shift, host_->size_bytes())) {
      output = output.toTensor().clone();
    }
  }
}

bool Session::evict(bool poison) {
  const std::scoped_lock lock(mutex_);
  Target& target = *links_->target;
  if (poison && target.residency.contains(name_)) {
    try {
      poison_device_copy();
    } catch (...) {
      target.residency.evict(name_);  // half-poisoned weights must not be taken for resident ones
      throw;
    }
  }
  return target.residency.evict(name_);
}

void Session::poison_device_copy() {
  Target& target = *links_->target;
  const ResidencyLease lease = acquire();
  if (!lease.was_loaded()) return;
  const std::unique_ptr<Stream> stream = target.device->create_stream();
  for (const std::shared_ptr<Event>& event : lease.last_uses()) {
    if (event) stream->wait(*event);
  }
  target.device->fill(lease.data(), 0xff, host_->layout().resident_bytes, *stream);
  stream->synchronize();
}

bool Session::is_resident() const {
  const std::scoped_lock lock(mutex_);
  return links_->target->residency.contains(name_);
}

void Session::set_timed(bool timed) {
  const std::scoped_lock lock(mutex_);
  if (timed) make_clock();
  timed_ = timed;
  for (const auto& [links, way] : ways_) way->loader().set_timed(timed);
  has_times_ = false;
}

void Session::set_background_load(bool busy) {
  const std::scoped_lock lock(mutex_);
  background_.reset();
  if (!busy) return;
  background_ = std::make_unique<BackgroundLoad>(*links_->target->device, host_->begin(), host_->size_bytes());
}

bool Session::last_was_cold() const {
  const std::scoped_lock lock(mutex_);
  return last_kind_.cold;
}

std::optional<RunTimes> Session::last_times() {
  const std::scoped_lock lock(mutex_);
  if (!has_times_) return std::nullopt;
  RunTimes times{.cold = last_kind_.cold, .total_ms = 0, .layers = clock_->times_ms(), .groups = {}};
  if (!times.layers.empty()) times.total_ms = times.layers.back().end_ms;
  if (last_kind_.cold) times.groups = way_->loader().group_times_ms(clock_->reference());
  return times;
}

}  // namespace deepplan
