#include "torch/executor.h"

#include <string>
#include <utility>

#include "core/error.h"
#include "torch/arithmetic.h"
#include "torch/autocast.h"

namespace deepplan {
namespace {

using Slots = std::vector<c10::IValue>;

c10::IValue fetch(const Operand& operand, const Slots& slots, const WeightTable& weights) {
  switch (operand.kind) {
    case Operand::Kind::Constant:
      return operand.constant;
    case Operand::Kind::Slot:
      return slots[operand.index];
    case Operand::Kind::WeightUse:
      return weights.at(operand.index);
    case Operand::Kind::List:
      break;
  }
  c10::impl::GenericList list(operand.element_type);
  list.reserve(operand.elements.size());
  for (const Operand& element : operand.elements) list.push_back(fetch(element, slots, weights));
  return list;
}

void charge_in_place_reads(const PreparedStep& step, const Slots& slots, const WeightTable& weights, Device& device) {
  for (const InPlaceRead& read : step.reads) {
    if (!weights.is_in_place(read.use)) continue;
    const bool gathers = read.indices_slot >= 0;
    device.charge_in_place_read(
        gathers ? read.bytes * static_cast<std::size_t>(slots[read.indices_slot].toTensor().numel()) : read.bytes);
  }
}

// Counts from the end where `index` is negative, as Python does. How long the list is shows at run time only.
c10::IValue list_element(const c10::IValue& list, int64_t index) {
  const c10::ArrayRef<c10::IValue> elements = list.toListRef();
  const auto count = static_cast<int64_t>(elements.size());
  if (index < -count || index >= count) {
    throw InvalidArgument("the graph takes element " + std::to_string(index) + " of a list of " +
                          std::to_string(count));
  }
  return elements[static_cast<std::size_t>(index < 0 ? index + count : index)];
}

// Afterwards the stack holds the results, first at the bottom.
void perform(const PreparedStep& step, torch::jit::Stack& stack, AutocastRegions& regions) {
  switch (step.kind) {
    case StepKind::Call:
      step.handle->callBoxed(stack);
      return;
    case StepKind::ListGet: {
      c10::IValue element = list_element(stack[0], stack[1].toInt());
      stack = {std::move(element)};
      return;
    }
    case StepKind::Arithmetic:
      stack = {python_arithmetic(step.op, stack)};
      return;
    case StepKind::AutocastEnter:
      regions.enter(stack);
      break;
    case StepKind::AutocastExit:
      regions.exit();
      break;
  }
  stack.clear();
}

}  // namespace

std::vector<c10::IValue> execute(const Program& program, const WeightTable& weights,
                                 const std::vector<at::Tensor>& inputs, LayerHook& hook, Device& device) {
  const Graph& graph = program.graph();
  const PlainDispatch plain_dispatch;
  AutocastRegions regions;
  Slots slots(graph.slot_count);
  for (std::size_t i = 0; i < inputs.size(); ++i) slots[graph.inputs[i].slot] = inputs[i];

  torch::jit::Stack stack;
  stack.reserve(32);
  const std::vector<PreparedStep>& steps = program.steps();
  for (std::size_t layer = 0; layer < graph.layers.size(); ++layer) {
    hook.before_layer(static_cast<int>(layer));
    for (int i = graph.layers[layer].begin; i < graph.layers[layer].end; ++i) {
      const PreparedStep& step = steps[i];
      for (const Operand& operand : step.operands) stack.push_back(fetch(operand, slots, weights));
      charge_in_place_reads(step, slots, weights, device);
      perform(step, stack, regions);
      for (std::size_t output = 0; output < step.outputs.size(); ++output) {
        if (step.outputs[output] >= 0) slots[step.outputs[output]] = std::move(stack.at(output));
      }
      stack.clear();  // results that nobody reads die here
      for (const int slot : step.frees) slots[slot] = c10::IValue();
    }
    hook.after_layer(static_cast<int>(layer));
  }
  std::vector<c10::IValue> outputs;
  for (const Operand& output : program.outputs()) outputs.push_back(fetch(output, slots, weights));
  return outputs;
}

}  // namespace deepplan
