// Python's operators on numbers, as torch.export leaves them in a graph for computed sizes.
#pragma once

#include <ATen/core/stack.h>

#include <string>

namespace deepplan {

// `op` is "deepplan::" and one of Python's `operator` names (add, mul, floordiv, ge, ...). Results have Python's types:
// truediv gives a float, floordiv rounds down, comparisons give a bool. Throws InvalidArgument for an unknown name,
// a wrong number of operands, one that is no number, a division by zero, and an integer that does not fit 64 bits.
c10::IValue python_arithmetic(const std::string& op, const torch::jit::Stack& operands);

}  // namespace deepplan
