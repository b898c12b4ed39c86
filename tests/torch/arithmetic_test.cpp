#include "torch/arithmetic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"

namespace deepplan {
namespace {

c10::IValue apply(const std::string& op, const torch::jit::Stack& operands) {
  return python_arithmetic("deepplan::" + op, operands);
}

constexpr int64_t operator""_i(unsigned long long value) { return static_cast<int64_t>(value); }

int64_t whole(const std::string& op, int64_t a, int64_t b) { return apply(op, {a, b}).toInt(); }
double real(const std::string& op, const c10::IValue& a, const c10::IValue& b) { return apply(op, {a, b}).toDouble(); }
bool holds(const std::string& op, const c10::IValue& a, const c10::IValue& b) { return apply(op, {a, b}).toBool(); }

TEST(PythonArithmetic, KeepsIntegersWhole) {
  EXPECT_EQ(whole("add", 2, 3), 5);
  EXPECT_EQ(whole("sub", 2, 3), -1);
  EXPECT_EQ(whole("mul", -2, 3), -6);
  EXPECT_EQ(whole("pow", 2, 10), 1024);
  EXPECT_EQ(whole("pow", -3, 3), -27);
  EXPECT_EQ(whole("pow", 7, 0), 1);
  EXPECT_EQ(whole("pow", 1, int64_t{1} << 62), 1);  // at once, not in so many steps
  EXPECT_EQ(whole("add", (int64_t{1} << 53), 1), (int64_t{1} << 53) + 1);
  EXPECT_EQ(apply("neg", {5_i}).toInt(), -5);
}

TEST(PythonArithmetic, TurnsToFloatsAsPythonDoes) {
  EXPECT_DOUBLE_EQ(real("add", 1_i, 0.5), 1.5);
  EXPECT_DOUBLE_EQ(real("mul", 0.5, 3_i), 1.5);
  EXPECT_DOUBLE_EQ(real("truediv", 6_i, 3_i), 2.0);
  EXPECT_DOUBLE_EQ(real("pow", 2_i, int64_t{-1}), 0.5);
  EXPECT_DOUBLE_EQ(real("pow", 2.0, 3_i), 8.0);
  EXPECT_DOUBLE_EQ(apply("neg", {2.5}).toDouble(), -2.5);
  EXPECT_TRUE(std::signbit(apply("neg", {0.0}).toDouble()));
}

TEST(PythonArithmetic, RoundsDivisionDown) {
  EXPECT_EQ(whole("floordiv", 7, 2), 3);
  EXPECT_EQ(whole("floordiv", -7, 2), -4);
  EXPECT_EQ(whole("floordiv", 7, -2), -4);
  EXPECT_EQ(whole("floordiv", -7, -2), 3);
  EXPECT_EQ(whole("floordiv", -6, 2), -3);
  EXPECT_EQ(whole("floordiv", 0, -5), 0);
  EXPECT_DOUBLE_EQ(real("floordiv", -7.5, 2_i), -4.0);
  EXPECT_DOUBLE_EQ(real("floordiv", 1.0, 0.1), 9.0);  // 0.1 is a little more than a tenth
}

TEST(PythonArithmetic, GivesTheRemainderTheDivisorsSign) {
  EXPECT_EQ(whole("mod", 7, 3), 1);
  EXPECT_EQ(whole("mod", -7, 3), 2);
  EXPECT_EQ(whole("mod", 7, -3), -2);
  EXPECT_EQ(whole("mod", -7, -3), -1);
  EXPECT_EQ(whole("mod", -6, 3), 0);
  EXPECT_DOUBLE_EQ(real("mod", -7.5, 2_i), 0.5);
  EXPECT_DOUBLE_EQ(real("mod", 7.5, -2.0), -0.5);
  EXPECT_DOUBLE_EQ(real("mod", 1.0, 0.1), 0.09999999999999995);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_DOUBLE_EQ(real("mod", 5.0, infinity), 5.0);
}

TEST(PythonArithmetic, ComparesToBooleans) {
  EXPECT_TRUE(apply("lt", {1_i, 2_i}).isBool());
  EXPECT_TRUE(holds("lt", 1_i, 2_i));
  EXPECT_TRUE(holds("le", 2_i, 2.0));
  EXPECT_FALSE(holds("gt", 2_i, 2_i));
  EXPECT_TRUE(holds("ge", 2.5, 2_i));
  EXPECT_TRUE(holds("eq", true, 1_i));
  EXPECT_TRUE(holds("ne", 1_i, 1.5));
  EXPECT_FALSE(holds("eq", std::nan(""), std::nan("")));
  EXPECT_TRUE(apply("not_", {0_i}).toBool());
  EXPECT_FALSE(apply("not_", {0.5}).toBool());
}

TEST(PythonArithmetic, CountsBooleansAsNumbers) {
  EXPECT_TRUE(apply("add", {true, true}).isInt());
  EXPECT_EQ(apply("add", {true, true}).toInt(), 2);
  EXPECT_EQ(apply("neg", {true}).toInt(), -1);
}

TEST(PythonArithmetic, CombinesBits) {
  EXPECT_EQ(whole("and_", 6, 3), 2);
  EXPECT_EQ(whole("or_", 6, 3), 7);
  EXPECT_TRUE(apply("and_", {true, false}).isBool());
  EXPECT_TRUE(holds("or_", true, false));
  EXPECT_EQ(apply("or_", {true, 2_i}).toInt(), 3);
  EXPECT_THROW(apply("and_", {1.0, 1_i}), InvalidArgument);
}

TEST(PythonArithmetic, RefusesDivisionByZero) {
  for (const char* op : {"floordiv", "mod", "truediv"}) {
    EXPECT_THROW(apply(op, {1_i, 0_i}), InvalidArgument) << op;
    EXPECT_THROW(apply(op, {1.0, 0.0}), InvalidArgument) << op;
    EXPECT_THROW(apply(op, {1_i, false}), InvalidArgument) << op;
  }
  EXPECT_THROW(apply("pow", {0_i, int64_t{-1}}), InvalidArgument);
}

TEST(PythonArithmetic, RefusesResultsThatDoNotFit) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  EXPECT_THROW(apply("add", {kMost, 1_i}), InvalidArgument);
  EXPECT_THROW(apply("sub", {kLeast, 1_i}), InvalidArgument);
  EXPECT_THROW(apply("mul", {kMost, 2_i}), InvalidArgument);
  EXPECT_THROW(apply("pow", {10_i, 19_i}), InvalidArgument);
  EXPECT_THROW(apply("floordiv", {kLeast, int64_t{-1}}), InvalidArgument);
  EXPECT_EQ(whole("mod", kLeast, -1), 0);
  EXPECT_THROW(apply("neg", {kLeast}), InvalidArgument);
}

TEST(PythonArithmetic, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW(apply("matmul", {1_i, 2_i}), InvalidArgument);
  EXPECT_THROW(apply("add", {1_i}), InvalidArgument);
  EXPECT_THROW(apply("add", {1_i, 2_i, 3_i}), InvalidArgument);
  EXPECT_THROW(apply("not_", {1_i, 2_i}), InvalidArgument);
  EXPECT_THROW(apply("add", {std::string("1"), 2_i}), InvalidArgument);
  EXPECT_THROW(apply("mul", {c10::IValue(), 2_i}), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
