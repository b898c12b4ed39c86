// From the graph's arguments to what a boxed call takes, guided by the operator's schema.
#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>
#include <c10/core/Device.h>

#include <optional>
#include <string>

#include "core/weight_format.h"
#include "torch/graph.h"

namespace deepplan {

// "float32" and the like. Throws InvalidArgument for a name torch does not have.
at::ScalarType scalar_type_from_name(const std::string& name);

// A constant as the schema's type wants it: a number becomes a wrapped 0-dim tensor where a Tensor is wanted (an
// ordinary one would promote float32 results to float64), an int a float, a list a typed list. `target` replaces the
// device named "target". Slots and weights are no constants: InvalidArgument, as for any value the type cannot hold.
c10::IValue to_ivalue(const Argument& argument, const c10::TypePtr& type, c10::Device target);

// A constant where no schema says what it should be: an output, or an argument of one of our own steps.
c10::IValue untyped_constant(const Argument& argument, c10::Device target);

// As which weights bytes of this dtype can be coded; nothing where they are no floating-point numbers of 2 or 4 bytes.
std::optional<WeightFormat> weight_format_from_name(const std::string& name);

}  // namespace deepplan
