#include "torch/session.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <utility>

#include "core/error.h"
#include "torch/value_conversion.h"

namespace deepplan {
namespace {

// Residency knows models by name; two sessions of one model are two residents.
std::string unique_name(const std::string& name) {
  static std::atomic<std::uint64_t> count{0};
  return name + "#" + std::to_string(count++);
}

std::unique_ptr<Stream> current_stream(Device& device, c10::Device target) {
  if (target.is_cpu()) return device.borrow_stream(nullptr);
  const c10::impl::VirtualGuardImpl guard(target.type());
  return device.borrow_stream(guard.getStream(target).native_handle());
}

std::string describe(at::IntArrayRef shape, const std::string& dtype) {
  std::string text = dtype + "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

// torch's errors as ours. The CPU's allocator throws no type of its own.
[[noreturn]] void translate(const c10::Error& error) {
  const std::string message = error.what_without_backtrace();
  const bool out_of_memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                             message.find("can't allocate memory") != std::string::npos;
  if (out_of_memory) throw OutOfMemory("inputs or activations do not fit: " + message);
  throw Error("an operator failed: " + message);
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

Session::~Session() {
  try {
    background_.reset();
    links_->target->device->synchronize();
    if (loader_) loader_->synchronize();
    links_->target->residency.evict(name_);
  } catch (const std::exception&) {
    // A failed device is reported by the next call that uses it; there is nobody to tell here.
  }
}

WeightLayout Session::lay_out(const ExecutionPlan& plan) const {
  return deepplan::lay_out(model_weights(program_->graph()), plan,
                           promote_ ? program_->promotable_storages() : std::vector<bool>());
}

void Session::bind() {
  const Device& device = *links_->target->device;
  std::vector<char*> in_place;  // null where a storage lies coded: nothing reads it there
  for (std::size_t storage = 0; storage < program_->graph().storage_bytes.size(); ++storage) {
    char* const host = host_->data(static_cast<int>(storage));
    // The mapped address differs from the host's only in type where the driver unifies addresses, as it does here.
    in_place.push_back(host == nullptr ? nullptr
                                       : const_cast<char*>(static_cast<const char*>(device.in_place_address(host))));
  }
  const WeightLayout& layout = host_->layout();
  cold_weights_ = std::make_unique<WeightTable>(*program_, uses_on_device(*program_, plan_), layout, in_place);
  warm_weights_ = std::make_unique<WeightTable>(*program_, uses_on_device(*program_, layout), layout, in_place);
  captured_.clear();
  loader_ = std::make_unique<Loader>(links_->links, *host_, plan_);
  loader_->set_timed(timed_);
  has_times_ = false;
}

at::Tensor Session::storage_bytes(int storage) const {
  const auto bytes = static_cast<int64_t>(program_->graph().storage_bytes.at(storage));
  if (char* const plain = host_->data(storage)) {
    return at::for_blob(plain, {bytes}).options(at::kByte).target_device(at::kCPU).make_tensor();
  }
  at::Tensor decoded = at::empty({bytes}, at::kByte);
  host_->read(storage, static_cast<char*>(decoded.mutable_data_ptr()));
  return decoded;
}

void Session::encode() {
  const std::scoped_lock lock(mutex_);
  std::vector<std::optional<GroupCoding>> codings;
  for (std::size_t group = 0; group < plan_.route.size(); ++group)
    codings.push_back(coding_of(static_cast<int>(group)));
  if (std::none_of(codings.begin(), codings.end(), [](const auto& coding) { return coding.has_value(); })) return;
  try {
    for (std::size_t group = 0; group < codings.size(); ++group) {
      if (codings[group]) links_->links.prepare_decoding(plan_.route[group]);
    }
  } catch (const OutOfMemory&) {
    return;  // a target too full for the buffers gets its weights as they are
  }
  leave();
  host_->code(codings);
  bind();
}

std::optional<GroupCoding> Session::coding_of(int group) const {
  const auto index = static_cast<std::size_t>(group);
  if (plan_.coded.empty() || !plan_.coded[index] || !links_->target->device->can_decode()) return std::nullopt;
  const Graph& graph = program_->graph();
  const std::vector<int> owner = storage_owners(graph);
  const auto in_group = [&](int weight) {
    const int layer = owner[graph.weights[weight].storage];
    return layer >= 0 && plan_.group[layer] == group;
  };
  const std::vector<bool> on_device = uses_on_device(*program_, plan_);
  for (std::size_t use = 0; use < on_device.size(); ++use) {
    if (!on_device[use] && in_group(program_->uses()[use].weight)) return std::nullopt;
  }
  std::map<std::string, std::size_t> bytes;  // by dtype
  for (std::size_t weight = 0; weight < graph.weights.size(); ++weight) {
    if (in_group(static_cast<int>(weight))) {
      bytes[graph.weights[weight].dtype] += graph.storage_bytes[graph.weights[weight].storage];
    }
  }
  std::optional<GroupCoding> coding;
  std::size_t most = 0;
  for (const auto& [dtype, count] : bytes) {
    const std::optional<WeightFormat> format = weight_format_from_name(dtype);
    if (!format || count < most) continue;
    most = count;
    coding = GroupCoding{*format, links_->links.coded_piece_bytes(plan_.route[index])};
  }
  return coding;
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
  check(inputs);
  for (at::Tensor& input : inputs) input = input.detach();
  has_times_ = false;
  const std::unique_ptr<Stream> stream = current_stream(*target.device, program_->target());
  ResidencyLease lease = acquire();
  const bool is_cold = !lease.was_loaded();
  if (is_cold || last_use_ == nullptr) last_use_ = target.device->create_event();
  try {
    std::vector<c10::IValue> outputs = run_with(lease, inputs, *stream);
    lease.mark_loaded();
    lease.set_last_use(is_cold ? loader_->promote(lease.data(), last_use_) : last_use_);
    return outputs;
  } catch (const c10::Error& error) {
    settle();
    translate(error);
  } catch (...) {
    settle();
    throw;
  }
}

ResidencyLease Session::acquire() {
  return links_->target->residency.acquire(name_, host_->layout().resident_bytes, captured_.home());
}

// The lease of a run that failed gives its memory back: nothing may be on its way into it, or still read it.
void Session::settle() {
  loader_->synchronize();
  links_->target->device->synchronize();
}

std::vector<c10::IValue> Session::run_with(ResidencyLease& lease, const std::vector<at::Tensor>& inputs,
                                           Stream& stream) {
  last_kind_ = {.cold = !lease.was_loaded(), .timed = timed_};
  const CapturedRun* const captured =
      dropped_wait_ < 0 ? captured_.find(last_kind_, lease.data(), links_->target->pool) : nullptr;
  last_was_captured_ = captured != nullptr;
  std::vector<c10::IValue> outputs =
      captured != nullptr ? launch(*captured, lease, inputs, stream) : issue(lease, inputs, stream);
  has_times_ = timed_;
  return outputs;
}

std::vector<c10::IValue> Session::launch(const CapturedRun& run, const ResidencyLease& lease,
                                         const std::vector<at::Tensor>& inputs, Stream& stream) {
  Target& target = *links_->target;
  const std::vector<at::Tensor>& places = captured_.inputs(program_->graph(), program_->target());
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
  if (timed_) {
    clock_->set_waited(run.layers_that_waited);
    if (last_kind_.cold) loader_->launched(/*timed=*/true);
  }
  std::vector<c10::IValue> outputs;
  for (const c10::IValue& output : run.outputs) {
    const bool is_place = output.isTensor() && output.toTensor().defined() && !output.toTensor().is_cpu();
    outputs.push_back(is_place ? c10::IValue(output.toTensor().clone()) : output);
  }
  stream.record(*last_use_);
  target.last_captured_run = last_use_;
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
  const std::scoped_lock target_lock(target.mutex);
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

// A result that is a view of a weight would change when the memory goes to another model.
void Session::keep_outputs(std::vector<c10::IValue>& outputs, const char* device_base) const {
  const WeightLayout& layout = host_->layout();
  const auto lies_in = [](const char* address, const char* base, std::size_t bytes) {
    return base != nullptr && address >= base && address < base + bytes;
  };
  for (c10::IValue& output : outputs) {
    if (!output.isTensor() || !output.toTensor().defined()) continue;
    const auto* address = static_cast<const char*>(output.toTensor().const_data_ptr());
    if (lies_in(address, device_base, layout.resident_bytes) || lies_in(address, host_->begin(), host_->size_bytes())) {
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

void Session::rebind(ExecutionPlan plan) {
  const std::scoped_lock lock(mutex_);
  const ModelWeights weights = model_weights(program_->graph());
  validate(plan, weights, links_->links.count());
  leave();
  host_->relayout(lay_out(plan));
  plan_ = std::move(plan);
  bind();
}

// Nothing of the host copy is read any more, and nothing of it is on the target.
void Session::leave() {
  links_->target->device->synchronize();
  loader_->synchronize();
  background_.reset();
  links_->target->residency.evict(name_);
}

void Session::set_timed(bool timed) {
  const std::scoped_lock lock(mutex_);
  if (timed) make_clock();
  timed_ = timed;
  loader_->set_timed(timed);
  has_times_ = false;
}

void Session::set_background_load(bool busy) {
  const std::scoped_lock lock(mutex_);
  background_.reset();
  if (!busy) return;
  background_ = std::make_unique<BackgroundLoad>(*links_->target->device, host_->begin(), host_->size_bytes());
}

std::optional<RunTimes> Session::last_times() {
  const std::scoped_lock lock(mutex_);
  if (!has_times_) return std::nullopt;
  RunTimes times{.cold = last_kind_.cold, .total_ms = 0, .layers = clock_->times_ms(), .groups = {}};
  if (!times.layers.empty()) times.total_ms = times.layers.back().end_ms;
  if (last_kind_.cold) times.groups = loader_->group_times_ms(clock_->reference());
  return times;
}

}  // namespace deepplan
