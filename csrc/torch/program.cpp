#include "torch/program.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "torch/value_conversion.h"

namespace deepplan {
namespace {

StepKind kind_of(const std::string& op) {
  if (op == "deepplan::list_get") return StepKind::ListGet;
  if (op == "deepplan::autocast_enter") return StepKind::AutocastEnter;
  if (op == "deepplan::autocast_exit") return StepKind::AutocastExit;
  if (op.starts_with("deepplan::")) return StepKind::Arithmetic;
  return StepKind::Call;
}

// Operators that gather rows of their first argument, the ones that their second picks.
bool is_lookup(const std::string& op) {
  return op == "aten::embedding" || op == "aten::embedding_bag" || op == "aten::_embedding_bag";
}

// A table up to this size is promoted, too: reading it in place costs more time than this is worth memory.
constexpr std::size_t kSmallTableBytes = std::size_t{8} << 20;

// A step that the executor does itself has no schema to be checked against; python_arithmetic checks its own operands.
void check_own_step(StepKind kind, const Step& step) {
  if (!step.keyword_arguments.empty()) throw InvalidArgument("takes no keyword arguments");
  const bool has_result = kind == StepKind::ListGet || kind == StepKind::Arithmetic;
  const std::size_t results = has_result ? 1 : 0;
  if (step.outputs.size() != results) {
    throw InvalidArgument("has " + std::to_string(results) + " results, not " + std::to_string(step.outputs.size()));
  }
  if (kind == StepKind::ListGet && step.arguments.size() != 2) throw InvalidArgument("takes a list and an index");
}

bool holds_reference(const Argument& argument) {
  if (const auto* list = std::get_if<Argument::List>(&argument.value)) {
    return std::any_of(list->begin(), list->end(), holds_reference);
  }
  return std::holds_alternative<Slot>(argument.value) || std::holds_alternative<WeightReference>(argument.value);
}

void check_index(int index, std::size_t count, const char* what) {
  if (index < 0 || static_cast<std::size_t>(index) >= count) {
    throw InvalidArgument("the graph names " + std::string(what) + " " + std::to_string(index) + " of " +
                          std::to_string(count));
  }
}

}  // namespace

Program::Program(Graph graph, c10::Device target) : graph_(std::move(graph)), target_(target) {
  check_indices();
  steps_.reserve(graph_.steps.size());
  for (std::size_t layer = 0; layer < graph_.layers.size(); ++layer) {
    for (int i = graph_.layers[layer].begin; i < graph_.layers[layer].end; ++i) {
      const Step& step = graph_.steps[i];
      try {
        steps_.push_back(prepare(step, static_cast<int>(layer)));
      } catch (const c10::Error& error) {
        throw InvalidArgument("step " + std::to_string(i) + " (" + step.op + "): " + error.what_without_backtrace());
      } catch (const InvalidArgument& error) {
        throw InvalidArgument("step " + std::to_string(i) + " (" + step.op + "): " + error.what());
      }
    }
  }
  const int last_layer = static_cast<int>(graph_.layers.size()) - 1;
  for (const Argument& output : graph_.outputs) {
    outputs_.push_back(operand(output, c10::AnyType::get(), last_layer));
  }
}

PreparedStep Program::prepare(const Step& step, int layer) {
  PreparedStep prepared;
  prepared.kind = kind_of(step.op);
  prepared.op = step.op;
  prepared.outputs = step.outputs;
  prepared.frees = step.frees;
  for (const int slot : step.frees) check_index(slot, graph_.slot_count, "slot");
  for (const int slot : step.outputs) {
    if (slot != -1) check_index(slot, graph_.slot_count, "slot");
  }
  if (prepared.kind == StepKind::Call) {
    prepare_call(prepared, step, layer);
    note_reads(prepared, step);
  } else {
    check_own_step(prepared.kind, step);
    for (const Argument& argument : step.arguments) {
      prepared.operands.push_back(operand(argument, c10::AnyType::get(), layer));
    }
  }
  return prepared;
}

void Program::prepare_call(PreparedStep& prepared, const Step& step, int layer) {
  prepared.handle = c10::Dispatcher::singleton().findSchema({step.op, step.overload});
  if (!prepared.handle) {
    throw InvalidArgument("this torch has no such operator" +
                          (step.overload.empty() ? std::string() : " (overload " + step.overload + ")") +
                          "; a custom operator's library must be imported first");
  }
  const c10::FunctionSchema& schema = prepared.handle->schema();
  if (step.arguments.size() > schema.arguments().size()) throw InvalidArgument("more arguments than its schema has");
  if (step.outputs.size() > schema.returns().size()) throw InvalidArgument("more results than its schema has");
  std::size_t used_keywords = 0;
  for (std::size_t i = 0; i < schema.arguments().size(); ++i) {
    const c10::Argument& formal = schema.arguments()[i];
    const auto keyword = step.keyword_arguments.find(formal.name());
    if (i < step.arguments.size()) {
      prepared.operands.push_back(operand(step.arguments[i], formal.type(), layer));
    } else if (keyword != step.keyword_arguments.end()) {
      prepared.operands.push_back(operand(keyword->second, formal.type(), layer));
      ++used_keywords;
    } else if (formal.default_value()) {
      prepared.operands.push_back(Operand::of(*formal.default_value()));
    } else {
      throw InvalidArgument("argument " + formal.name() + " is missing");
    }
  }
  if (used_keywords != step.keyword_arguments.size()) throw InvalidArgument("a keyword its schema does not have");
}

Operand Program::operand(const Argument& argument, const c10::TypePtr& type, int layer) {
  if (const auto* slot = std::get_if<Slot>(&argument.value)) {
    check_index(slot->index, graph_.slot_count, "slot");
    return Operand::of_slot(slot->index);
  }
  if (const auto* weight = std::get_if<WeightReference>(&argument.value)) {
    check_index(weight->index, graph_.weights.size(), "weight");
    uses_.push_back({.weight = weight->index, .layer = layer});
    return Operand::of_use(static_cast<int>(uses_.size()) - 1);
  }
  if (const auto* list = std::get_if<Argument::List>(&argument.value); list && holds_reference(argument)) {
    c10::TypePtr list_type = type;
    if (const auto optional = type->cast<c10::OptionalType>()) list_type = optional->getElementType();
    const auto typed = list_type->cast<c10::ListType>();
    if (!typed) throw InvalidArgument("a list where the operator wants " + type->str());
    const bool is_symbolic = typed->getElementType()->kind() == c10::TypeKind::SymIntType;
    Operand result = Operand::of_list(is_symbolic ? c10::TypePtr(c10::IntType::get()) : typed->getElementType());
    for (const Argument& item : *list) result.elements.push_back(operand(item, result.element_type, layer));
    return result;
  }
  const bool is_typed = type->kind() != c10::TypeKind::AnyType;
  return Operand::of(is_typed ? to_ivalue(argument, type, target_) : untyped_constant(argument, target_));
}

// What a lookup reads in place are the rows its indices pick; every other operator reads the whole weight.
void Program::note_reads(PreparedStep& prepared, const Step& step) const {
  for (std::size_t i = 0; i < prepared.operands.size(); ++i) {
    const Operand& operand = prepared.operands[i];
    const bool gathers = is_lookup(step.op) && i == 0 && prepared.operands[1].kind == Operand::Kind::Slot;
    note_reads(prepared, operand, gathers ? prepared.operands[1].index : -1);
  }
}

void Program::note_reads(PreparedStep& prepared, const Operand& operand, int indices_slot) const {
  for (const Operand& element : operand.elements) note_reads(prepared, element, indices_slot);
  if (operand.kind != Operand::Kind::WeightUse) return;
  const WeightSpec& weight = graph_.weights[uses_[operand.index].weight];
  std::size_t elements = 1;
  for (const int64_t size : weight.shape) elements *= static_cast<std::size_t>(size);
  const std::size_t bytes = elements * c10::elementSize(scalar_type_from_name(weight.dtype));
  const bool has_rows = !weight.shape.empty() && weight.shape[0] > 0;
  const bool gathers = indices_slot >= 0 && has_rows;
  prepared.reads.push_back({.use = operand.index,
                            .bytes = gathers ? bytes / static_cast<std::size_t>(weight.shape[0]) : bytes,
                            .indices_slot = gathers ? indices_slot : -1});
}

std::vector<bool> Program::promotable_storages() const {
  std::vector<bool> promotable;
  for (const std::size_t bytes : graph_.storage_bytes) promotable.push_back(bytes <= kSmallTableBytes);
  for (const PreparedStep& step : steps_) {
    for (const InPlaceRead& read : step.reads) {
      if (read.indices_slot < 0) promotable[graph_.weights[uses_[read.use].weight].storage] = true;
    }
  }
  return promotable;
}

void Program::check_indices() const {
  int next = 0;
  for (const Layer& layer : graph_.layers) {
    if (layer.begin != next || layer.end < layer.begin) {
      throw InvalidArgument("layer " + layer.name + " does not begin where the one before it ends");
    }
    next = layer.end;
    for (const int storage : layer.storages) check_index(storage, graph_.storage_bytes.size(), "storage");
  }
  if (static_cast<std::size_t>(next) != graph_.steps.size()) throw InvalidArgument("the layers do not cover the steps");
  for (const WeightSpec& weight : graph_.weights) {
    check_index(weight.storage, graph_.storage_bytes.size(), "storage");
    if (weight.shape.size() != weight.stride.size()) throw InvalidArgument("weight " + weight.name + ": bad strides");
    const auto item_bytes = static_cast<int64_t>(c10::elementSize(scalar_type_from_name(weight.dtype)));
    if (weight.offset_bytes % item_bytes != 0) {
      throw InvalidArgument("weight " + weight.name + " does not begin at a whole element");
    }
    int64_t reach = item_bytes;
    bool is_empty = false;
    for (std::size_t i = 0; i < weight.shape.size(); ++i) {
      if (weight.shape[i] < 0 || weight.stride[i] < 0) throw InvalidArgument("weight " + weight.name + ": bad shape");
      is_empty |= weight.shape[i] == 0;
      reach += (weight.shape[i] - 1) * weight.stride[i] * item_bytes;
    }
    const auto size = static_cast<int64_t>(graph_.storage_bytes[weight.storage]);
    if (weight.offset_bytes < 0 || (!is_empty && weight.offset_bytes + reach > size)) {
      throw InvalidArgument("weight " + weight.name + " reaches past the end of its storage");
    }
  }
  for (const InputSpec& input : graph_.inputs) check_index(input.slot, graph_.slot_count, "slot");
}

}  // namespace deepplan
