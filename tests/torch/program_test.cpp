#include "torch/program.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "small_graphs.h"

namespace deepplan {
namespace {

Program prepare(Graph graph) { return {std::move(graph), at::kCPU}; }

// What is said about a graph that is not accepted.
std::string refusal(Graph graph) {
  try {
    prepare(std::move(graph));
  } catch (const InvalidArgument& error) {
    return error.message();
  }
  return "accepted";
}

std::string refusal(Step step) { return refusal(graph_of({std::move(step)}, {})); }

void expect_refused(const std::string& said, const std::string& expected) {
  EXPECT_NE(said.find(expected), std::string::npos) << said;
}

TEST(Program, FillsInDefaults) {
  const Program program = prepare(graph_of({step("aten::add", "Tensor", {slot(0), slot(0)}, {1})}, {slot(1)}));
  const PreparedStep& add = program.steps().at(0);
  ASSERT_EQ(add.operands.size(), 3);
  EXPECT_EQ(add.operands[0].kind, Operand::Kind::Slot);
  EXPECT_EQ(add.operands[2].constant.toInt(), 1);  // alpha
}

TEST(Program, TakesKeywords) {
  Step add = step("aten::add", "Tensor", {slot(0)}, {1});
  add.keyword_arguments = {{"other", slot(0)}, {"alpha", integer(3)}};
  const Program program = prepare(graph_of({add}, {slot(1)}));
  EXPECT_EQ(program.steps()[0].operands[1].index, 0);
  EXPECT_EQ(program.steps()[0].operands[2].constant.toInt(), 3);
}

TEST(Program, BuildsListsOfValuesAtRunTime) {
  const Step cat = step("aten::cat", "", {list({slot(0), slot(0)}), integer(1)}, {1});
  const Step view = step("aten::view", "", {slot(0), list({slot(2), integer(6)})}, {3});
  const Program program = prepare(graph_of({cat, view}, {slot(1)}));
  const Operand& tensors = program.steps()[0].operands[0];
  ASSERT_EQ(tensors.kind, Operand::Kind::List);
  EXPECT_EQ(tensors.elements.size(), 2);
  EXPECT_EQ(tensors.element_type->kind(), c10::TypeKind::TensorType);
  EXPECT_EQ(program.steps()[1].operands[1].element_type->kind(), c10::TypeKind::IntType);  // for SymInt[]
}

TEST(Program, NumbersEveryUseOfAWeight) {
  const Program program = prepare(tied_table());
  ASSERT_EQ(program.uses().size(), 2);
  EXPECT_EQ(program.uses()[0].layer, 0);
  EXPECT_EQ(program.uses()[1].layer, 2);
  EXPECT_EQ(program.uses()[1].weight, 0);
}

TEST(Program, NotesWhatInPlaceReadsCost) {
  const Program program = prepare(tied_table());
  const InPlaceRead& gathered = program.steps()[0].reads.at(0);
  EXPECT_EQ(gathered.bytes, 4 * kFeatures);  // one row for each index
  EXPECT_EQ(gathered.indices_slot, 0);
  const InPlaceRead& whole = program.steps()[2].reads.at(0);
  EXPECT_EQ(whole.bytes, 4 * 16 * kFeatures);
  EXPECT_EQ(whole.indices_slot, -1);
}

TEST(Program, ABagOfAnEmbeddingReadsRowsToo) {
  Graph graph = tied_table();
  graph.steps[0] = step("aten::embedding_bag", "", {weight(0), slot(0), slot(0)}, {1, -1, -1, -1});
  const Program program = prepare(graph);
  const InPlaceRead& gathered = program.steps()[0].reads.at(0);
  EXPECT_EQ(gathered.bytes, 4 * kFeatures);
  EXPECT_EQ(gathered.indices_slot, 0);
}

TEST(Program, NotesReadsOfWeightsInsideLists) {
  Graph graph = chain_of_linears(1);
  graph.steps = {step("aten::cat", "", {list({weight(0), weight(0)})}, {1})};
  graph.layers[0].end = 1;
  graph.outputs = {slot(1)};
  const Program program = prepare(graph);
  ASSERT_EQ(program.steps()[0].reads.size(), 2);
  EXPECT_EQ(program.steps()[0].reads[1].use, 1);
  EXPECT_EQ(program.steps()[0].reads[1].bytes, 4 * kFeatures * kFeatures);
}

TEST(Program, NamesStepAndOperatorItDoesNotKnow) {
  expect_refused(refusal(step("aten::no_such_thing", "", {slot(0)}, {1})), "step 0 (aten::no_such_thing)");
  expect_refused(refusal(step("aten::add", "NoSuch", {slot(0)}, {1})), "overload NoSuch");
}

TEST(Program, RefusesArgumentsTheSchemaDoesNotHave) {
  expect_refused(refusal(step("aten::linear", "", {slot(0)}, {1})), "argument weight is missing");
  expect_refused(refusal(step("aten::relu", "", {slot(0), slot(0)}, {1})), "more arguments");
  expect_refused(refusal(step("aten::relu", "", {slot(0)}, {1, 2})), "more results");
  expect_refused(refusal(step("aten::relu", "", {list({slot(0)})}, {1})), "a list where the operator wants Tensor");
  expect_refused(refusal(step("aten::view", "", {slot(0), {std::string("x")}}, {1})), "no integer");
  Step relu = step("aten::relu", "", {slot(0)}, {1});
  relu.keyword_arguments = {{"inplace", {true}}};
  expect_refused(refusal(relu), "a keyword its schema does not have");
  Step twice = step("aten::relu", "", {slot(0)}, {1});
  twice.keyword_arguments = {{"self", slot(0)}};
  expect_refused(refusal(twice), "a keyword its schema does not have");
}

TEST(Program, RefusesIndicesOutOfRange) {
  expect_refused(refusal(step("aten::relu", "", {slot(8)}, {1})), "slot 8 of 8");
  expect_refused(refusal(step("aten::relu", "", {slot(-1)}, {1})), "slot -1");
  expect_refused(refusal(step("aten::relu", "", {weight(0)}, {1})), "weight 0 of 0");
  expect_refused(refusal(step("aten::relu", "", {slot(0)}, {8})), "slot 8");
  expect_refused(refusal(step("aten::relu", "", {slot(0)}, {-2})), "slot -2");
  expect_refused(refusal(step("aten::relu", "", {slot(0)}, {1}, {9})), "slot 9");
  Graph graph = graph_of({step("aten::relu", "", {slot(0)}, {1})}, {slot(1)});
  graph.inputs[0].slot = 8;
  expect_refused(refusal(graph), "slot 8");
  graph.inputs[0].slot = 0;
  graph.outputs = {slot(11)};
  expect_refused(refusal(graph), "slot 11");
}

TEST(Program, RefusesStepsOfItsOwnThatAreNotWellFormed) {
  expect_refused(refusal(step("deepplan::list_get", "", {slot(0)}, {1})), "list_get");
  expect_refused(refusal(step("deepplan::list_get", "", {slot(0), integer(0)}, {1, 2})), "result");
  expect_refused(refusal(step("deepplan::add", "", {integer(1), integer(2)}, {})), "result");
  expect_refused(refusal(step("deepplan::autocast_exit", "", {}, {1})), "result");
  Step add = step("deepplan::add", "", {integer(1)}, {1});
  add.keyword_arguments = {{"other", integer(1)}};
  expect_refused(refusal(add), "keyword");
}

TEST(Program, RefusesLayersThatDoNotCoverTheSteps) {
  Graph graph = chain_of_linears(2);
  graph.layers[1].begin = 3;
  expect_refused(refusal(graph), "layer fc1 does not begin");
  graph = chain_of_linears(2);
  graph.layers[1].end = 3;
  expect_refused(refusal(graph), "do not cover");
  graph = chain_of_linears(2);
  graph.layers[1].end = 5;
  expect_refused(refusal(graph), "do not cover");
  graph = chain_of_linears(2);
  graph.layers[0].storages = {4};
  expect_refused(refusal(graph), "storage 4 of 4");
}

TEST(Program, RefusesWeightsThatAreNotInTheirStorage) {
  Graph graph = chain_of_linears(1);
  graph.weights[0].offset_bytes = 4;
  expect_refused(refusal(graph), "fc0.weight reaches past");
  graph = chain_of_linears(1);
  graph.weights[0].stride = {kFeatures + 1, 1};
  expect_refused(refusal(graph), "fc0.weight reaches past");
  graph = chain_of_linears(1);
  graph.weights[0].stride = {1};
  expect_refused(refusal(graph), "bad strides");
  graph = chain_of_linears(1);
  graph.weights[0].shape = {-1, kFeatures};
  expect_refused(refusal(graph), "bad shape");
  graph = chain_of_linears(1);
  graph.weights[1].storage = 2;
  expect_refused(refusal(graph), "storage 2 of 2");
  graph = chain_of_linears(1);
  graph.weights[1].dtype = "float33";
  expect_refused(refusal(graph), "float33");
  graph = chain_of_linears(1);
  graph.weights[1].shape = {kFeatures - 1};
  graph.weights[1].offset_bytes = 2;
  expect_refused(refusal(graph), "fc0.bias does not begin at a whole element");
}

TEST(Program, AnEmptyWeightFitsAnywhere) {
  Graph graph = chain_of_linears(1);
  graph.weights.push_back({"empty", 1, "float32", {0, 1000}, {1000, 1}, 0});
  EXPECT_EQ(refusal(graph), "accepted");
}

}  // namespace
}  // namespace deepplan
