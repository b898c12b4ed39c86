#include "torch/arithmetic.h"

#include <cmath>
#include <functional>
#include <unordered_map>

#include "core/error.h"

namespace deepplan {
namespace {

using Binary = c10::IValue (*)(const c10::IValue&, const c10::IValue&);

bool both_integers(const c10::IValue& a, const c10::IValue& b) { return !a.isDouble() && !b.isDouble(); }

int64_t integer(const c10::IValue& value) {
  if (value.isBool()) return value.toBool();
  if (!value.isInt()) throw InvalidArgument("an operator on numbers was given a " + value.tagKind());
  return value.toInt();
}

double real(const c10::IValue& value) {
  return value.isDouble() ? value.toDouble() : static_cast<double>(integer(value));
}

// Python's integers have no end; sizes that do not fit 64 bits are a mistake.
[[noreturn]] void refuse_overflow() { throw InvalidArgument("the graph computes a number of more than 64 bits"); }

void refuse_zero(const c10::IValue& divisor) {
  if (real(divisor) == 0.0) throw InvalidArgument("the graph divides by zero");
}

struct Add {
  static double of(double a, double b) { return a + b; }
  static bool overflows(int64_t a, int64_t b, int64_t* result) { return __builtin_add_overflow(a, b, result); }
};
struct Subtract {
  static double of(double a, double b) { return a - b; }
  static bool overflows(int64_t a, int64_t b, int64_t* result) { return __builtin_sub_overflow(a, b, result); }
};
struct Multiply {
  static double of(double a, double b) { return a * b; }
  static bool overflows(int64_t a, int64_t b, int64_t* result) { return __builtin_mul_overflow(a, b, result); }
};

template <typename Operation>
int64_t checked(int64_t a, int64_t b) {
  int64_t result = 0;
  if (Operation::overflows(a, b, &result)) refuse_overflow();
  return result;
}

template <typename Operation>
c10::IValue compute(const c10::IValue& a, const c10::IValue& b) {
  if (both_integers(a, b)) return checked<Operation>(integer(a), integer(b));
  return Operation::of(real(a), real(b));
}

template <typename Comparison>
c10::IValue compare(const c10::IValue& a, const c10::IValue& b) {
  if (both_integers(a, b)) return Comparison{}(integer(a), integer(b));
  return Comparison{}(real(a), real(b));
}

// The remainder has the divisor's sign.
c10::IValue modulo(const c10::IValue& a, const c10::IValue& b) {
  refuse_zero(b);
  if (both_integers(a, b)) {
    if (integer(b) == -1) return int64_t{0};  // the smallest integer's quotient would not fit
    const int64_t remainder = integer(a) % integer(b);
    return remainder != 0 && (remainder < 0) != (integer(b) < 0) ? remainder + integer(b) : remainder;
  }
  const double remainder = std::fmod(real(a), real(b));
  return remainder != 0 && (remainder < 0) != (real(b) < 0) ? remainder + real(b) : remainder;
}

c10::IValue floor_divide(const c10::IValue& a, const c10::IValue& b) {
  const c10::IValue remainder = modulo(a, b);
  if (!both_integers(a, b)) return std::round((real(a) - remainder.toDouble()) / real(b));
  if (integer(b) == -1) return checked<Multiply>(integer(a), -1);
  const int64_t quotient = integer(a) / integer(b);
  const bool rounds_up = remainder.toInt() != 0 && (integer(a) < 0) != (integer(b) < 0);
  return quotient - (rounds_up ? 1 : 0);
}

c10::IValue divide(const c10::IValue& a, const c10::IValue& b) {
  refuse_zero(b);
  return real(a) / real(b);
}

c10::IValue power(const c10::IValue& a, const c10::IValue& b) {
  if (real(b) < 0) refuse_zero(a);
  if (!both_integers(a, b) || integer(b) < 0) return std::pow(real(a), real(b));
  int64_t result = 1;
  int64_t square = integer(a);
  for (int64_t exponent = integer(b); exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) result = checked<Multiply>(result, square);
    if (exponent > 1) square = checked<Multiply>(square, square);
  }
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
  static const std::unordered_map<std::string, Binary> table = {{"deepplan::add", compute<Add>},
                                                                {"deepplan::sub", compute<Subtract>},
                                                                {"deepplan::mul", compute<Multiply>},
                                                                {"deepplan::truediv", divide},
                                                                {"deepplan::floordiv", floor_divide},
                                                                {"deepplan::mod", modulo},
                                                                {"deepplan::pow", power},
                                                                {"deepplan::eq", compare<std::equal_to<>>},
                                                                {"deepplan::ne", compare<std::not_equal_to<>>},
                                                                {"deepplan::lt", compare<std::less<>>},
                                                                {"deepplan::le", compare<std::less_equal<>>},
                                                                {"deepplan::gt", compare<std::greater<>>},
                                                                {"deepplan::ge", compare<std::greater_equal<>>},
                                                                {"deepplan::and_", bitwise<std::bit_and<>>},
                                                                {"deepplan::or_", bitwise<std::bit_or<>>}};
  return table;
}

}  // namespace

c10::IValue python_arithmetic(const std::string& op, const torch::jit::Stack& operands) {
  if (operands.size() == 1) {
    if (op == "deepplan::neg") return compute<Multiply>(operands[0], int64_t{-1});
    if (op == "deepplan::not_") return real(operands[0]) == 0.0;
  }
  const auto found = operators().find(op);
  if (found == operators().end()) throw InvalidArgument(op + " is not one of Python's operators on numbers");
  if (operands.size() != 2) throw InvalidArgument(op + " takes two numbers");
  return found->second(operands[0], operands[1]);
}

}  // namespace deepplan
