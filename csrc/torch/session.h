// One model, ready to be run: its program, its weights in host memory, and the plan by which they reach the target.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runtime/background_load.h"
#include "runtime/host_weights.h"
#include "runtime/loader.h"
#include "torch/captured_runs.h"
#include "torch/cold_way.h"
#include "torch/current_stream.h"
#include "torch/program.h"
#include "torch/run_hooks.h"
#include "torch/target.h"
#include "torch/weight_table.h"

namespace deepplan {

ModelWeights model_weights(const Graph& graph);

struct RunTimes {
  bool cold = false;
  double total_ms = 0;  // from the call's first command on the stream to the end of its last layer
  std::vector<LayerTimes> layers;
  std::vector<GroupTimes> groups;  // empty for a warm run
};

class Session {
 public:
  // Lays the host copy out by the plan, in the arena; its bytes are the caller's to fill through `storage_bytes`.
  // Nothing is on the target yet. With `promote`, what the plan leaves in host memory follows onto the target after a
  // cold start, but for tables of which only rows are gathered. InvalidArgument for a plan that does not fit,
  // OutOfMemory from the arena.
  Session(std::string name, std::shared_ptr<const Program> program, std::shared_ptr<SharedLinks> links,
          PinnedArena& arena, ExecutionPlan plan, bool promote);
  // The same with the host copy that `copy` tells of, which another process made for this model and plan: nothing is to
  // be written or coded then. InvalidArgument where it cannot have.
  Session(std::string name, std::shared_ptr<const Program> program, std::shared_ptr<SharedLinks> links,
          PinnedArena& arena, ExecutionPlan plan, bool promote, const HostCopy& copy);
  // The model of `other` with its plan and from the same host copy, which is neither coded nor laid out again from then
  // on: on another target, or, beside `other` on the same one, for another batch size. On one target they share the
  // device copy too, and are not run at the same time. `program` has the same weights, and at least as many links are
  // there as the plan uses (InvalidArgument). Make it after `other` was encoded.
  Session(const Session& other, std::shared_ptr<const Program> program, std::shared_ptr<SharedLinks> links);
  // Waits for the target, then gives device and pinned memory back.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // The host copy of one storage, as bytes on the CPU, to be written or read. Valid until the next `rebind` or
  // `encode`; of a storage whose group is coded a copy, decoded.
  at::Tensor storage_bytes(int storage) const;

  // Codes the groups that the plan says, once the host copy is filled. Left plain are groups that an earlier layer
  // reads in place as well, and all where the target cannot decode or has no room for what that takes. Drops the device
  // copy, captured runs and what plan_for() said.
  void encode();

  // Waits for all that was begun on the target, none of it by another thread; DeviceError where that has failed for
  // good.
  void settle();

  // InvalidArgument for inputs that run() refuses. Waits for nobody.
  void check(const std::vector<at::Tensor>& inputs) const;

  // Runs on torch's current stream of the target, cold or warm as it is. Outputs are the flattened results, ordered on
  // that stream; the call does not wait for them. Inputs on the CPU are copied. InvalidArgument for an input of
  // another shape, dtype or GPU; OutOfMemory when the weights or the activations do not fit. One call at a time:
  // others wait for their turn. After an error in a cold run the model is not resident; the session can be called
  // again.
  std::vector<c10::IValue> run(std::vector<at::Tensor> inputs);
  // The same as a server answers: waits, and returns the results on the CPU.
  std::vector<c10::IValue> answer(std::vector<at::Tensor> inputs);

  // Captures the kernels of one kind of run. The caller began a capture on torch's current stream and will end it,
  // holding the target's mutex all the while. Nobody else uses this session meanwhile. The model must be resident
  // (InvalidArgument otherwise; c10::Error where an operator cannot be captured). With `shifted`, the same over weights
  // that seem to lie elsewhere (ShiftedCapture), after one without. Then `adopt` takes the cudaGraph_t that the
  // captures made; from then on such runs are launched in its parts wherever the model lies. Without `shifted` only
  // where it lay, and issued operator by operator elsewhere. DeviceError where it cannot be made to move.
  void capture(RunKind kind, bool shifted);
  void adopt(RunKind kind, void* captured, void* shifted);
  // Makes what a capture needs and must not make itself. After it, a capture of any kind may begin.
  void prepare_capture();
  // Whether the last run was one that had been captured.
  bool last_was_captured() const;
  // Goes on operator by operator; sessions that share what was captured keep it.
  void forget_captured();
  // What was captured is launched wherever the model comes to lie, and asks for no place of its own any more.
  // InvalidArgument if something cannot move.
  void leave_home();
  // Launches what was captured of `other`, which has left its home, for this model too: one that differs only in what
  // its weights are (InvalidArgument otherwise). They take turns.
  void share_captured(const Session& other);

  // Forgets the device copy; costs no copy and no wait. `poison` fills it with 0xff first (NaN in every floating
  // format), so that a read without its wait cannot go unseen. Returns whether the model was resident.
  bool evict(bool poison);
  bool is_resident() const;
  // It stays from now on until it is evicted by name: no other model's need of room takes it away. InvalidArgument
  // where it is not resident.
  void pin() { links_->target->residency.pin(name_, true); }
  // Gives up what every model that is idle holds of the target's memory.
  void evict_idle() { links_->target->evict_idle(); }

  // Another plan over the same links: lays the host copy out again, drops the device copy, captured runs and what
  // plan_for() said.
  void rebind(ExecutionPlan plan);

  // Whether runs from now on keep times, and those of the last one (waits for it). Empty before the first timed run,
  // and after one that failed.
  void set_timed(bool timed);
  std::optional<RunTimes> last_times();

  // Whether runs from now on find the target's own link busy with other copies, as in-place reads do in a cold start.
  void set_background_load(bool busy);

  // From now on cold starts travel over these links only, the target's own (0) first: a group that the plan sends over
  // link k goes over `links[k % n]`. InvalidArgument for a link that is not there or named twice, or without the own.
  void use_links(std::vector<int> links);
  // Cold starts over so many links go by `plan` from now on, whose routes count these links. It loads the same layers
  // as the session's own plan, in any groups; if weights lie coded, in the same. So the host copy stays as it is, and
  // what was captured holds. InvalidArgument for any other plan.
  void plan_for(int links, ExecutionPlan plan);
  bool last_was_cold() const;
  // Where its weights lie in kept memory, for the constructor above in a later process.
  HostCopy host_copy() const { return host_->copy(); }

  // For tests: leaves out the wait for one group (-1: none).
  void drop_wait(int group) { dropped_wait_ = group; }

  const WeightLayout& layout() const { return host_->layout(); }
  const HostWeights& host() const { return *host_; }
  const Program& program() const { return *program_; }

 private:
  std::vector<c10::IValue> run_with(ResidencyLease& lease, const std::vector<at::Tensor>& inputs, Stream& stream);
  std::vector<c10::IValue> launch(const CapturedRun& run, const ResidencyLease& lease,
                                  const std::vector<at::Tensor>& inputs, Stream& stream);
  void launch_parts(const CapturedRun& run, Stream& stream);
  std::vector<c10::IValue> issue(const ResidencyLease& lease, std::vector<at::Tensor> inputs, Stream& stream);
  std::vector<c10::IValue> issue_cold(const ResidencyLease& lease, const std::vector<at::Tensor>& inputs,
                                      Stream& stream);
  std::vector<c10::IValue> issue_warm(char* device_base, const std::vector<at::Tensor>& inputs, Stream& stream);
  ResidencyLease acquire();
  WeightLayout lay_out(const ExecutionPlan& plan) const;
  void make_clock();
  void keep_outputs(std::vector<c10::IValue>& outputs, const char* device_base, std::ptrdiff_t host_shift = 0) const;
  void replace_captured(std::shared_ptr<CapturedRuns> runs);
  std::vector<char*> in_place_addresses(std::ptrdiff_t shift) const;
  LayerClock* clock() const { return timed_ ? clock_.get() : nullptr; }
  void bind();
  ColdWay& way_over(const std::vector<int>& links);
  void require_own_host_copy() const;
  void leave();
  std::optional<GroupCoding> coding_of(int group) const;
  std::vector<std::optional<GroupCoding>> codings() const;
  void prepare_decoding(const std::vector<std::optional<GroupCoding>>& codings);
  void poison_device_copy();

  std::string name_;
  std::shared_ptr<const Program> program_;
  std::shared_ptr<SharedLinks> links_;
  PinnedArena& arena_;
  ExecutionPlan plan_;
  std::shared_ptr<HostWeights> host_;
  char* in_place_begin_ = nullptr;  // of the host copy, as the target addresses it
  std::unique_ptr<WeightTable> cold_weights_;
  std::unique_ptr<WeightTable> warm_weights_;
  std::map<std::size_t, ExecutionPlan> plan_for_;              // by number of links, where it is not plan_
  std::map<std::vector<int>, std::unique_ptr<ColdWay>> ways_;  // by the links they use, made when first used
  ColdWay* way_ = nullptr;                                     // the one in use
  std::shared_ptr<Event> last_use_;                            // behind the last run
  std::unique_ptr<LayerClock> clock_;                          // null until somebody wants times
  std::unique_ptr<Event> cut_mark_;                            // null before prepare_capture()
  std::shared_ptr<CapturedRuns> captured_ = std::make_shared<CapturedRuns>();
  std::unique_ptr<BackgroundLoad> background_;
  bool promote_;
  bool timed_ = false;
  bool has_times_ = false;
  RunKind last_kind_;
  bool last_was_captured_ = false;
  int dropped_wait_ = -1;
  mutable std::mutex mutex_;
};

}  // namespace deepplan
