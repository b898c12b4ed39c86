#include "torch/value_conversion.h"

#include <ATen/ops/add.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "small_graphs.h"

namespace deepplan {
namespace {

const c10::TypePtr kTensor = c10::TensorType::get();
const c10::TypePtr kInt = c10::IntType::get();
const c10::TypePtr kFloat = c10::FloatType::get();
const c10::TypePtr kBool = c10::BoolType::get();
const c10::TypePtr kNumber = c10::NumberType::get();
const c10::TypePtr kString = c10::StringType::get();
const c10::TypePtr kDevice = c10::DeviceObjType::get();

c10::IValue convert(const Argument& argument, const c10::TypePtr& type) { return to_ivalue(argument, type, at::kCPU); }

c10::IValue convert_optional(const Argument& argument, const c10::TypePtr& type) {
  return convert(argument, c10::OptionalType::create(type));
}

c10::IValue convert_list(const Argument& argument, const c10::TypePtr& element) {
  return convert(argument, c10::ListType::create(element));
}

TEST(ToIValue, ANumberThatActsAsTensorPromotesLikeANumber) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor ones = at::ones({2}, dtype);
    EXPECT_EQ(at::add(ones, convert({1.5}, kTensor).toTensor()).scalar_type(), dtype);
    EXPECT_EQ(at::add(ones, convert(integer(2), kTensor).toTensor()).scalar_type(), dtype);
  }
  const at::Tensor whole = at::ones({2}, at::kInt);
  EXPECT_EQ(at::add(whole, convert(integer(2), kTensor).toTensor()).scalar_type(), at::kInt);
  EXPECT_EQ(at::add(whole, convert({1.5}, kTensor).toTensor()).scalar_type(), at::kFloat);
  EXPECT_DOUBLE_EQ(convert({1.5}, kTensor).toTensor().item<double>(), 1.5);
  EXPECT_TRUE(convert({true}, kTensor).toTensor().item<bool>());
}

TEST(ToIValue, NothingIsAnUndefinedTensorOrNone) {
  EXPECT_FALSE(convert({NoneArgument{}}, kTensor).toTensor().defined());
  EXPECT_TRUE(convert_optional({NoneArgument{}}, kTensor).isNone());
  EXPECT_TRUE(convert_optional({NoneArgument{}}, kInt).isNone());
  EXPECT_EQ(convert_optional(integer(3), kInt).toInt(), 3);
}

TEST(ToIValue, NumbersBecomeWhatTheSchemaSays) {
  EXPECT_TRUE(convert(integer(2), kFloat).isDouble());
  EXPECT_TRUE(convert({true}, kInt).isInt());
  EXPECT_TRUE(convert(integer(1), kBool).isBool());
  EXPECT_EQ(convert(integer(4), c10::SymIntType::get()).toInt(), 4);
  EXPECT_TRUE(convert(integer(2), kNumber).isInt());
  EXPECT_TRUE(convert({2.5}, kNumber).isDouble());
  EXPECT_TRUE(convert({true}, kNumber).isBool());
  const c10::Scalar imaginary = convert({std::complex<double>(1, 2)}, kNumber).toScalar();
  EXPECT_EQ(imaginary.toComplexDouble(), c10::complex<double>(1, 2));
}

TEST(ToIValue, EnumerationsTravelAsIntegers) {
  EXPECT_EQ(convert({DtypeArgument{"bfloat16"}}, kInt).toInt(), static_cast<int64_t>(at::kBFloat16));
  EXPECT_EQ(convert({LayoutArgument{"strided"}}, kInt).toInt(), static_cast<int64_t>(at::kStrided));
  EXPECT_EQ(convert({MemoryFormatArgument{"channels_last"}}, kInt).toInt(),
            static_cast<int64_t>(at::MemoryFormat::ChannelsLast));
  EXPECT_THROW(convert({DtypeArgument{"float33"}}, kInt), InvalidArgument);
  EXPECT_THROW(convert({LayoutArgument{"sparse_coo"}}, kInt), InvalidArgument);
  EXPECT_THROW(convert({MemoryFormatArgument{"rows_last"}}, kInt), InvalidArgument);
}

TEST(ToIValue, TheTargetIsWhicheverDeviceRunsTheModel) {
  const c10::Device gpu(c10::DeviceType::CUDA, 2);
  EXPECT_EQ(to_ivalue({DeviceArgument{"target"}}, kDevice, gpu).toDevice(), gpu);
  EXPECT_EQ(to_ivalue({DeviceArgument{"cpu"}}, kDevice, gpu).toDevice(), c10::Device(at::kCPU));
  EXPECT_EQ(untyped_constant({DeviceArgument{"target"}}, gpu).toDevice(), gpu);
}

TEST(ToIValue, ListsAreTyped) {
  const c10::IValue sizes = convert_list(list({integer(2), integer(3)}), kInt);
  EXPECT_EQ(sizes.toIntVector(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(convert_list(list({integer(5)}), c10::SymIntType::get()).toIntVector(), std::vector<int64_t>{5});
  EXPECT_EQ(convert_list(list({integer(1), {0.5}}), kFloat).toDoubleVector(), (std::vector<double>{1.0, 0.5}));
  EXPECT_EQ(convert_list(list({{true}, {false}}), kBool).toBoolList().size(), 2);
  EXPECT_EQ(convert_list(list({}), kInt).toIntVector().size(), 0);
  const c10::IValue sparse = convert_list(list({{NoneArgument{}}}), c10::OptionalType::create(kTensor));
  EXPECT_TRUE(sparse.toListRef()[0].isNone());
}

TEST(ToIValue, OneNumberStandsForAListOfIt) {
  EXPECT_EQ(convert_list(integer(2), kInt).toIntVector(), std::vector<int64_t>{2});
}

TEST(ToIValue, RefusesWhatTheTypeCannotHold) {
  EXPECT_THROW(convert({std::string("1")}, kInt), InvalidArgument);
  EXPECT_THROW(convert({1.5}, kInt), InvalidArgument);
  EXPECT_THROW(convert({std::string("x")}, kTensor), InvalidArgument);
  EXPECT_THROW(convert({NoneArgument{}}, kInt), InvalidArgument);
  EXPECT_THROW(convert(integer(1), kString), InvalidArgument);
  EXPECT_THROW(convert({std::string("cpu")}, kDevice), InvalidArgument);
  EXPECT_THROW(convert(list({integer(1)}), kInt), InvalidArgument);
  EXPECT_THROW(convert_list(list({{std::string("x")}}), kInt), InvalidArgument);
  EXPECT_THROW(convert(slot(0), kTensor), InvalidArgument);
  EXPECT_THROW(convert(weight(0), kTensor), InvalidArgument);
  EXPECT_THROW(convert(integer(1), c10::StreamObjType::get()), InvalidArgument);
}

TEST(UntypedConstant, KeepsItsOwnKind) {
  EXPECT_TRUE(untyped_constant({NoneArgument{}}, at::kCPU).isNone());
  EXPECT_TRUE(untyped_constant({true}, at::kCPU).isBool());
  EXPECT_TRUE(untyped_constant(integer(1), at::kCPU).isInt());
  EXPECT_TRUE(untyped_constant({1.0}, at::kCPU).isDouble());
  EXPECT_EQ(untyped_constant({std::string("text")}, at::kCPU).toStringRef(), "text");
  EXPECT_EQ(untyped_constant({DtypeArgument{"float16"}}, at::kCPU).toInt(), static_cast<int64_t>(at::kHalf));
  EXPECT_THROW(untyped_constant(list({integer(1)}), at::kCPU), InvalidArgument);
  EXPECT_THROW(untyped_constant(slot(0), at::kCPU), InvalidArgument);
}

TEST(ScalarTypeFromName, KnowsTheNamesPythonUses) {
  // All of deepplan/export/dtypes.py, with their sizes.
  const std::vector<std::pair<std::string, std::size_t>> sizes_bytes = {
      {"bool", 1},        {"uint8", 1},           {"int8", 1},           {"float8_e4m3fn", 1}, {"float8_e4m3fnuz", 1},
      {"float8_e5m2", 1}, {"float8_e5m2fnuz", 1}, {"float8_e8m0fnu", 1}, {"uint16", 2},        {"int16", 2},
      {"float16", 2},     {"bfloat16", 2},        {"uint32", 4},         {"int32", 4},         {"float32", 4},
      {"uint64", 8},      {"int64", 8},           {"float64", 8},        {"complex32", 4},     {"complex64", 8},
      {"complex128", 16}};
  for (const auto& [name, size] : sizes_bytes) EXPECT_EQ(c10::elementSize(scalar_type_from_name(name)), size) << name;
  EXPECT_EQ(scalar_type_from_name("float32"), at::kFloat);
  EXPECT_EQ(scalar_type_from_name("int64"), at::kLong);
  EXPECT_EQ(scalar_type_from_name("bool"), at::kBool);
  EXPECT_EQ(scalar_type_from_name("complex64"), at::kComplexFloat);
  EXPECT_EQ(scalar_type_from_name("float8_e4m3fn"), at::kFloat8_e4m3fn);
  EXPECT_THROW(scalar_type_from_name("Float"), InvalidArgument);
}

TEST(WeightFormatFromName, KnowsWhatCanBeCoded) {
  EXPECT_EQ(weight_format_from_name("bfloat16"), WeightFormat::BFloat16);
  EXPECT_EQ(weight_format_from_name("float16"), WeightFormat::Float16);
  EXPECT_EQ(weight_format_from_name("float32"), WeightFormat::Float32);
  EXPECT_FALSE(weight_format_from_name("float64"));
  EXPECT_FALSE(weight_format_from_name("int64"));
}

}  // namespace
}  // namespace deepplan
