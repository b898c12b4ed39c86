// torch's casters first: they must be seen before pybind11's generic ones.
#include <torch/csrc/utils/pybind.h>
//
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "python/bindings.h"
#include "runtime/parallel_copy.h"

namespace py = pybind11;

namespace deepplan {
namespace {

// A tensor whose memory was released still tells its old size.
bool is_plain(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cpu() || tensor.layout() != at::kStrided || !tensor.is_contiguous()) return false;
  return tensor.nbytes() == 0 ||
         tensor.storage_offset() * tensor.itemsize() + tensor.nbytes() <= tensor.storage().nbytes();
}

void check_plain(const at::Tensor& tensor, const char* what, std::size_t index) {
  if (is_plain(tensor)) return;
  throw InvalidArgument(std::string(what) + " " + std::to_string(index) +
                        " is not contiguous memory on the CPU, or was released");
}

std::vector<CopyRange> ranges_of(const std::vector<at::Tensor>& destinations, const std::vector<at::Tensor>& sources) {
  if (destinations.size() != sources.size()) {
    throw InvalidArgument(std::to_string(sources.size()) + " sources for " + std::to_string(destinations.size()) +
                          " destinations: give one for each");
  }
  std::vector<CopyRange> ranges;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    check_plain(destinations[i], "destination", i);
    check_plain(sources[i], "source", i);
    if (destinations[i].nbytes() != sources[i].nbytes()) {
      throw InvalidArgument("source " + std::to_string(i) + " has " + std::to_string(sources[i].nbytes()) +
                            " bytes, its destination " + std::to_string(destinations[i].nbytes()));
    }
    ranges.push_back({static_cast<char*>(destinations[i].mutable_data_ptr()),
                      static_cast<const char*>(sources[i].const_data_ptr()), sources[i].nbytes()});
  }
  return ranges;
}

}  // namespace

void bind_copies(py::module_& module) {
  module.def(
      "copy_bytes",
      [](const std::vector<at::Tensor>& destinations, const std::vector<at::Tensor>& sources) {
        parallel_copy(ranges_of(destinations, sources));
      },
      py::arg("destinations"), py::arg("sources"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace deepplan
