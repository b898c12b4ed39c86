// torch's casters first: they must be seen before pybind11's generic ones.
#include <torch/csrc/utils/pybind.h>
//
#include <pybind11/stl.h>

#include <memory>
#include <string>

#include "core/decode_rate.h"
#include "core/error.h"
#include "core/weight_code.h"
#include "python/bindings.h"
#include "torch/value_conversion.h"

namespace py = pybind11;

namespace deepplan {
namespace {

WeightFormat format_of(const std::string& dtype) {
  const auto format = weight_format_from_name(dtype);
  if (!format) throw InvalidArgument("weights of " + dtype + " cannot be coded");
  return *format;
}

std::size_t coded_size(const at::Tensor& bytes, const std::string& dtype) {
  if (!bytes.is_cpu() || bytes.scalar_type() != at::kByte || !bytes.is_contiguous()) {
    throw InvalidArgument("only contiguous bytes on the CPU can be coded");
  }
  const WeightFormat format = format_of(dtype);
  const std::size_t most_bytes = most_coded_bytes(format, bytes.nbytes());
  const auto coded = std::make_unique_for_overwrite<char[]>(most_bytes);  // its size counts, not what is in it
  return encode_weights(format, {static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()},
                        {coded.get(), most_bytes});
}

}  // namespace

void bind_coding(py::module_& module) {
  module.def("coded_size", &coded_size, py::arg("bytes"), py::arg("dtype"), py::call_guard<py::gil_scoped_release>());
  module.def(
      "can_decode", [](const std::string& device) { return open_device(parse_device_id(device))->can_decode(); },
      py::arg("device"), py::call_guard<py::gil_scoped_release>());
  module.def(
      "measure_decode_gbps",
      [](const std::string& device, const std::string& dtype, std::size_t bytes, int repeats) {
        return measure_decode_gbps(*open_device(parse_device_id(device)), format_of(dtype), bytes, repeats);
      },
      py::arg("device"), py::arg("dtype"), py::arg("bytes"), py::arg("repeats") = 9,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace deepplan
