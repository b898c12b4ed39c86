// A graph made ready to run on one device: operators looked up, constants boxed, weight uses numbered.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "torch/graph.h"

namespace deepplan {

// One argument of a prepared call. Constants are boxed once; the other kinds are fetched at each run.
struct Operand {
  enum class Kind { Constant, Slot, WeightUse, List };
  Kind kind = Kind::Constant;
  c10::IValue constant;
  int index = -1;                 // of the slot or of the weight use
  std::vector<Operand> elements;  // of a list that holds slots or weights
  c10::TypePtr element_type;

  static Operand of(c10::IValue constant) { return {Kind::Constant, std::move(constant), -1, {}, nullptr}; }
  static Operand of_slot(int slot) { return {Kind::Slot, {}, slot, {}, nullptr}; }
  static Operand of_use(int use) { return {Kind::WeightUse, {}, use, {}, nullptr}; }
  static Operand of_list(c10::TypePtr element_type) { return {Kind::List, {}, -1, {}, std::move(element_type)}; }
};

// What a step does. All but Call are done by the executor itself: they are Python's own operators in the exported
// graph and have no schema.
enum class StepKind { Call, ListGet, Arithmetic, AutocastEnter, AutocastExit };

// Bytes of a weight that one step reads when the weight stays in host memory: all of it, or the rows an index picks.
struct InPlaceRead {
  int use = -1;
  std::size_t bytes = 0;  // of the whole weight, or of one row if `indices_slot` is one
  int indices_slot = -1;
};

struct PreparedStep {
  StepKind kind = StepKind::Call;
  std::string op;
  std::optional<c10::OperatorHandle> handle;  // of a Call
  std::vector<Operand> operands;
  std::vector<int> outputs;
  std::vector<int> frees;
  std::vector<InPlaceRead> reads;
};

// Placement is decided per use of a weight: a tied table is sparse as an embedding and dense as an output head.
struct WeightUse {
  int weight = 0;
  int layer = 0;
};

class Program {
 public:
  // Looks every operator up and checks every index. Throws InvalidArgument naming the step and the operator.
  Program(Graph graph, c10::Device target);

  const Graph& graph() const { return graph_; }
  c10::Device target() const { return target_; }
  const std::vector<PreparedStep>& steps() const { return steps_; }
  const std::vector<WeightUse>& uses() const { return uses_; }
  const std::vector<Operand>& outputs() const { return outputs_; }
  // One flag a storage: whether a warm run should find it on the device. Not so a large table of which only rows are
  // gathered: it is as well read in place.
  std::vector<bool> promotable_storages() const;

 private:
  PreparedStep prepare(const Step& step, int layer);
  void prepare_call(PreparedStep& prepared, const Step& step, int layer);
  Operand operand(const Argument& argument, const c10::TypePtr& type, int layer);
  void note_reads(PreparedStep& prepared, const Step& step) const;
  void note_reads(PreparedStep& prepared, const Operand& operand, int indices_slot) const;
  void check_indices() const;

  Graph graph_;
  c10::Device target_;
  std::vector<PreparedStep> steps_;
  std::vector<WeightUse> uses_;
  std::vector<Operand> outputs_;
};

}  // namespace deepplan
