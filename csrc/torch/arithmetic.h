// Python's operators on numbers, as torch.export leaves them in a graph for computed sizes.
#pragma once

#include <ATen/core/stack.h>

#include <string>

namespace deepplan {

// `op` is "deepplan::" and one of Python's `operator` names (add, mul, floordiv, ge, ...). Results have Python's types:
// truediv gives a float, floordiv rounds down, comparisons give a bool. Throws InvalidArgument for an unknown name,
// a wrong number of operands or a division by zero.
c10::IValue python_arithmetic(const std::string& op, const torch::jit::Stack& operands);

}  // namespace deepplan
