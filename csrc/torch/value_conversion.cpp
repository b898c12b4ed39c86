#include "torch/value_conversion.h"

#include <ATen/ScalarOps.h>
#include <c10/core/ScalarType.h>

#include <unordered_map>

#include "core/error.h"

namespace deepplan {
namespace {

[[noreturn]] void refuse(const char* what, const c10::TypePtr& type) {
  throw InvalidArgument(std::string("the graph gives ") + what + " where the operator wants " + type->str());
}

c10::Scalar to_scalar(const Argument& argument, const c10::TypePtr& type) {
  if (const auto* flag = std::get_if<bool>(&argument.value)) return c10::Scalar(*flag);
  if (const auto* number = std::get_if<int64_t>(&argument.value)) return c10::Scalar(*number);
  if (const auto* number = std::get_if<double>(&argument.value)) return c10::Scalar(*number);
  if (const auto* number = std::get_if<std::complex<double>>(&argument.value)) {
    return c10::Scalar(c10::complex<double>(number->real(), number->imag()));
  }
  refuse("something that is no number", type);
}

int64_t layout_from_name(const std::string& name) {
  if (name == "strided") return static_cast<int64_t>(at::kStrided);
  throw InvalidArgument("layout " + name + " is not supported: only strided tensors are");
}

int64_t memory_format_from_name(const std::string& name) {
  static const std::unordered_map<std::string, at::MemoryFormat> formats = {
      {"contiguous_format", at::MemoryFormat::Contiguous},
      {"preserve_format", at::MemoryFormat::Preserve},
      {"channels_last", at::MemoryFormat::ChannelsLast},
      {"channels_last_3d", at::MemoryFormat::ChannelsLast3d}};
  const auto found = formats.find(name);
  if (found == formats.end()) throw InvalidArgument("unknown memory format " + name);
  return static_cast<int64_t>(found->second);
}

// Enumerations travel as integers in a boxed call.
int64_t to_int(const Argument& argument, const c10::TypePtr& type) {
  if (const auto* dtype = std::get_if<DtypeArgument>(&argument.value)) {
    return static_cast<int64_t>(scalar_type_from_name(dtype->name));
  }
  if (const auto* layout = std::get_if<LayoutArgument>(&argument.value)) return layout_from_name(layout->name);
  if (const auto* format = std::get_if<MemoryFormatArgument>(&argument.value)) {
    return memory_format_from_name(format->name);
  }
  if (const auto* number = std::get_if<int64_t>(&argument.value)) return *number;
  if (const auto* flag = std::get_if<bool>(&argument.value)) return *flag ? 1 : 0;
  refuse("something that is no integer", type);
}

c10::IValue to_tensor(const Argument& argument, const c10::TypePtr& type) {
  if (std::holds_alternative<NoneArgument>(argument.value)) return at::Tensor();
  at::Tensor number = at::scalar_to_tensor(to_scalar(argument, type));
  number.unsafeGetTensorImpl()->set_wrapped_number(true);
  return number;
}

c10::IValue to_list(const Argument& argument, const c10::TypePtr& type, c10::Device target) {
  const c10::TypePtr element = type->expectRef<c10::ListType>().getElementType();
  c10::impl::GenericList list(element->kind() == c10::TypeKind::SymIntType ? c10::IntType::get() : element);
  if (const auto* elements = std::get_if<Argument::List>(&argument.value)) {
    for (const Argument& item : *elements) list.push_back(to_ivalue(item, element, target));
    return list;
  }
  // One number stands for a list of it, as in Python (stride=2); the operator expands it by its own rules.
  list.push_back(to_ivalue(argument, element, target));
  return list;
}

}  // namespace

at::ScalarType scalar_type_from_name(const std::string& name) {
  static const std::unordered_map<std::string, at::ScalarType> types = {{"float32", at::kFloat},
                                                                        {"float64", at::kDouble},
                                                                        {"float16", at::kHalf},
                                                                        {"bfloat16", at::kBFloat16},
                                                                        {"int64", at::kLong},
                                                                        {"int32", at::kInt},
                                                                        {"int16", at::kShort},
                                                                        {"int8", at::kChar},
                                                                        {"uint8", at::kByte},
                                                                        {"uint16", at::ScalarType::UInt16},
                                                                        {"uint32", at::ScalarType::UInt32},
                                                                        {"uint64", at::ScalarType::UInt64},
                                                                        {"bool", at::kBool},
                                                                        {"complex64", at::kComplexFloat},
                                                                        {"complex128", at::kComplexDouble},
                                                                        {"complex32", at::kComplexHalf},
                                                                        {"float8_e4m3fn", at::kFloat8_e4m3fn},
                                                                        {"float8_e4m3fnuz", at::kFloat8_e4m3fnuz},
                                                                        {"float8_e5m2", at::kFloat8_e5m2},
                                                                        {"float8_e5m2fnuz", at::kFloat8_e5m2fnuz},
                                                                        {"float8_e8m0fnu", at::kFloat8_e8m0fnu}};
  const auto found = types.find(name);
  if (found == types.end()) throw InvalidArgument("dtype " + name + " is not supported");
  return found->second;
}

c10::IValue to_ivalue(const Argument& argument, const c10::TypePtr& type, c10::Device target) {
  if (type->kind() == c10::TypeKind::OptionalType) {
    if (std::holds_alternative<NoneArgument>(argument.value)) return c10::IValue();
    return to_ivalue(argument, type->expectRef<c10::OptionalType>().getElementType(), target);
  }
  switch (type->kind()) {
    case c10::TypeKind::TensorType:
      return to_tensor(argument, type);
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return to_int(argument, type);
    case c10::TypeKind::FloatType:
    case c10::TypeKind::SymFloatType:
      return to_scalar(argument, type).toDouble();
    case c10::TypeKind::BoolType:
    case c10::TypeKind::SymBoolType:
      return to_scalar(argument, type).toBool();
    case c10::TypeKind::NumberType:
      return c10::IValue(to_scalar(argument, type));
    case c10::TypeKind::StringType:
      if (const auto* text = std::get_if<std::string>(&argument.value)) return *text;
      refuse("something that is no string", type);
    case c10::TypeKind::DeviceObjType:
      if (const auto* device = std::get_if<DeviceArgument>(&argument.value)) {
        return device->name == "target" ? target : c10::Device(device->name);
      }
      refuse("something that is no device", type);
    case c10::TypeKind::ListType:
      return to_list(argument, type, target);
    default:
      refuse("an argument", type);
  }
}

c10::IValue untyped_constant(const Argument& argument, c10::Device target) {
  if (std::holds_alternative<NoneArgument>(argument.value)) return {};
  if (std::holds_alternative<bool>(argument.value)) return to_ivalue(argument, c10::BoolType::get(), target);
  if (std::holds_alternative<int64_t>(argument.value)) return to_ivalue(argument, c10::IntType::get(), target);
  if (std::holds_alternative<double>(argument.value)) return to_ivalue(argument, c10::FloatType::get(), target);
  if (std::holds_alternative<std::string>(argument.value)) return to_ivalue(argument, c10::StringType::get(), target);
  if (std::holds_alternative<DtypeArgument>(argument.value)) return to_ivalue(argument, c10::IntType::get(), target);
  if (std::holds_alternative<DeviceArgument>(argument.value)) {
    return to_ivalue(argument, c10::DeviceObjType::get(), target);
  }
  throw InvalidArgument("a constant of a kind that has no value outside an operator's arguments");
}

std::optional<WeightFormat> weight_format_from_name(const std::string& name) {
  if (name == "bfloat16") return WeightFormat::BFloat16;
  if (name == "float16") return WeightFormat::Float16;
  if (name == "float32") return WeightFormat::Float32;
  return std::nullopt;
}

}  // namespace deepplan
