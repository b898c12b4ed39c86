// How a session's runs are captured, made to move with its weights, and shared with models of the same program.
#include <optional>
#include <utility>

#include "core/error.h"
#include "torch/current_stream.h"
#include "torch/executor.h"
#include "torch/session.h"

namespace deepplan {
namespace {

// The memory that captured runs find elsewhere: the resident weights, and the host copy as it is read in place.
constexpr std::size_t kDeviceSpan = 0, kHostSpan = 1;

}  // namespace

void Session::prepare_capture() {
  const std::scoped_lock lock(mutex_);
  captured_->inputs(program_->graph(), program_->target());
  make_clock();
  if (cut_mark_ == nullptr) cut_mark_ = links_->target->device->create_event();
}

void Session::capture(RunKind kind, bool shifted) {
  const std::scoped_lock lock(mutex_);
  Target& target = *links_->target;
  const std::unique_ptr<Stream> stream = current_stream(*target.device, program_->target());
  const ResidencyLease lease = acquire();
  if (!lease.was_loaded() || cut_mark_ == nullptr) {
    throw InvalidArgument("only a resident model can be captured, after prepare_capture(): run it once before");
  }
  LayerClock* const clock = kind.timed ? clock_.get() : nullptr;
  if (clock != nullptr) {
    // The first layer begins with the capture, not with the reference: copies are issued in between.
    clock->set_waited(std::vector<bool>(program_->graph().layers.size()));
    clock->start_layer(0, *stream);
  }
  std::optional<WeightTable> elsewhere;
  char* device_base = lease.data();
  std::ptrdiff_t host_shift = 0;
  if (shifted) {
    device_base += ShiftedCapture::shift_bytes(kDeviceSpan);
    host_shift = ShiftedCapture::shift_bytes(kHostSpan);
    elsewhere.emplace(*program_,
                      kind.cold ? uses_on_device(*program_, plan_) : uses_on_device(*program_, host_->layout()),
                      host_->layout(), in_place_addresses(host_shift));
  }
  WeightTable& weights = shifted ? *elsewhere : kind.cold ? *cold_weights_ : *warm_weights_;
  weights.set_device_base(device_base);
  CaptureHook cold_hook(*stream, clock, plan_, *cut_mark_);
  WarmHook warm_hook(*stream, clock);
  const std::vector<at::Tensor>& inputs = captured_->inputs(program_->graph(), program_->target());
  std::vector<c10::IValue> outputs =
      execute(*program_, weights, inputs, kind.cold ? cold_hook : warm_hook, *target.device);
  keep_outputs(outputs, device_base, host_shift);
  if (shifted) return;  // of this one only the graph is wanted
  CapturedRun run{
      .graph = nullptr, .waits = cold_hook.waits(), .outputs = without_ownership(outputs), .layers_that_waited = {}};
  if (clock != nullptr) run.layers_that_waited = clock->waited();
  captured_->begin(kind, lease.data(), target.pool, std::move(run));
}

void Session::adopt(RunKind kind, void* captured, void* shifted) {
  const std::scoped_lock lock(mutex_);
  std::optional<ShiftedCapture> again;
  if (shifted != nullptr) {
    again = ShiftedCapture{
        .captured = shifted,
        .spans = {{captured_->begun_at(), host_->layout().resident_bytes}, {in_place_begin_, host_->size_bytes()}}};
  }
  captured_->adopt(kind, links_->target->device->instantiate(captured, again ? &*again : nullptr));
}

void Session::forget_captured() {
  const std::scoped_lock lock(mutex_);
  replace_captured(std::make_shared<CapturedRuns>());
}

// A graph that is destroyed ends every capture: nobody begins one meanwhile.
void Session::replace_captured(std::shared_ptr<CapturedRuns> runs) {
  const std::scoped_lock target_lock(links_->target->mutex);
  captured_ = std::move(runs);
}

void Session::leave_home() {
  const std::scoped_lock lock(mutex_);
  captured_->leave_home();
}

void Session::share_captured(const Session& other) {
  const std::scoped_lock lock(mutex_, other.mutex_);
  const auto places = [](const Session& session) {
    std::vector<std::ptrdiff_t> places;
    for (const char* const address : session.in_place_addresses(0)) {
      places.push_back(address == nullptr ? -1 : address - session.in_place_begin_);
    }
    return places;
  };
  if (program_ != other.program_ || links_->target != other.links_->target || plan_ != other.plan_ ||
      host_->layout() != other.host_->layout() || places(*this) != places(other)) {
    throw InvalidArgument("what was captured of a model serves only those with its program, target, plan and layout");
  }
  if (other.captured_->home() != nullptr) throw InvalidArgument("what is to be shared must have left its home");
  replace_captured(other.captured_);
}

}  // namespace deepplan
