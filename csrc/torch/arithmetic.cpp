#include "torch/arithmetic.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <unordered_map>

#include "core/error.h"

namespace deepplan {
namespace {

using Binary = c10::IValue (*)(const c10::IValue&, const c10::IValue&);

bool both_integers(const c10::IValue& a, const c10::IValue& b) { return !a.isDouble() && !b.isDouble(); }

int64_t integer(const c10::IValue& value) { return value.isBool() ? value.toBool() : value.toInt(); }

double real(const c10::IValue& value) {
  return value.isDouble() ? value.toDouble() : static_cast<double>(integer(value));
}

// One body for the operators that act alike on integers and floats.
template <typename Operation>
c10::IValue apply(const c10::IValue& a, const c10::IValue& b) {
  if (both_integers(a, b)) return Operation{}(integer(a), integer(b));
  return Operation{}(real(a), real(b));
}

void refuse_zero(const c10::IValue& divisor) {
  if (real(divisor) == 0.0) throw InvalidArgument("the graph divides by zero");
}

c10::IValue floor_divide(const c10::IValue& a, const c10::IValue& b) {
  refuse_zero(b);
  if (!both_integers(a, b)) return std::floor(real(a) / real(b));
  const int64_t quotient = integer(a) / integer(b);
  const bool rounds_up = integer(a) % integer(b) != 0 && (integer(a) < 0) != (integer(b) < 0);
  return quotient - (rounds_up ? 1 : 0);
}

c10::IValue modulo(const c10::IValue& a, const c10::IValue& b) {
  refuse_zero(b);
  if (!both_integers(a, b)) return real(a) - std::floor(real(a) / real(b)) * real(b);
  return integer(a) - floor_divide(a, b).toInt() * integer(b);
}

c10::IValue divide(const c10::IValue& a, const c10::IValue& b) {
  refuse_zero(b);
  return real(a) / real(b);
}

c10::IValue power(const c10::IValue& a, const c10::IValue& b) {
  if (!both_integers(a, b) || integer(b) < 0) return std::pow(real(a), real(b));
  int64_t result = 1;
  for (int64_t i = 0; i < integer(b); ++i) result *= integer(a);
  return result;
}

// Python's & and |: bitwise on integers, and a bool where both operands are.
template <typename Operation>
c10::IValue bitwise(const c10::IValue& a, const c10::IValue& b) {
  if (!both_integers(a, b)) throw InvalidArgument("a bitwise operator on a float");
  const int64_t result = Operation{}(integer(a), integer(b));
  if (a.isBool() && b.isBool()) return result != 0;
  return result;
}

const std::unordered_map<std::string, Binary>& operators() {
  static const std::unordered_map<std::string, Binary> table = {{"deepplan::add", apply<std::plus<>>},
                                                                {"deepplan::sub", apply<std::minus<>>},
                                                                {"deepplan::mul", apply<std::multiplies<>>},
                                                                {"deepplan::truediv", divide},
                                                                {"deepplan::floordiv", floor_divide},
                                                                {"deepplan::mod", modulo},
                                                                {"deepplan::pow", power},
                                                                {"deepplan::eq", apply<std::equal_to<>>},
                                                                {"deepplan::ne", apply<std::not_equal_to<>>},
                                                                {"deepplan::lt", apply<std::less<>>},
                                                                {"deepplan::le", apply<std::less_equal<>>},
                                                                {"deepplan::gt", apply<std::greater<>>},
                                                                {"deepplan::ge", apply<std::greater_equal<>>},
                                                                {"deepplan::and_", bitwise<std::bit_and<>>},
                                                                {"deepplan::or_", bitwise<std::bit_or<>>}};
  return table;
}

}  // namespace

c10::IValue python_arithmetic(const std::string& op, const torch::jit::Stack& operands) {
  if (operands.size() == 1) {
    const c10::IValue zero(static_cast<int64_t>(0));
    if (op == "deepplan::neg") return apply<std::minus<>>(zero, operands[0]);
    if (op == "deepplan::not_") return real(operands[0]) == 0.0;
  }
  const auto found = operators().find(op);
  if (found == operators().end()) throw InvalidArgument(op + " is not one of Python's operators on numbers");
  if (operands.size() != 2) throw InvalidArgument(op + " takes two numbers");
  return found->second(operands[0], operands[1]);
}

}  // namespace deepplan
