#include "core/cuda/kernel_parameters.h"

#include <cudaTypedefs.h>

#include <algorithm>
#include <string>

#include "core/cuda/cuda_check.h"
#include "core/error.h"

namespace deepplan {
namespace {

#if CUDART_VERSION >= 12050

// The driver is not linked: where there is none, all the rest of this library works.
template <typename Function>
Function driver_function(const char* name, unsigned int version) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check_cuda(cudaGetDriverEntryPointByVersion(name, &function, version, cudaEnableDefault, &found), name);
  if (found != cudaDriverEntryPointSuccess || function == nullptr) {
    throw DeviceError("the driver has no " + std::string(name) + ": it is older than CUDA 12.4");
  }
  return reinterpret_cast<Function>(function);
}

struct Driver {
  PFN_cuGraphKernelNodeGetParams_v12000 get =
      driver_function<PFN_cuGraphKernelNodeGetParams_v12000>("cuGraphKernelNodeGetParams", 12000);
  PFN_cuGraphExecKernelNodeSetParams_v12000 set =
      driver_function<PFN_cuGraphExecKernelNodeSetParams_v12000>("cuGraphExecKernelNodeSetParams", 12000);
  PFN_cuFuncGetParamInfo_v12040 function_parameter =
      driver_function<PFN_cuFuncGetParamInfo_v12040>("cuFuncGetParamInfo", 12040);
  PFN_cuKernelGetParamInfo_v12040 kernel_parameter =
      driver_function<PFN_cuKernelGetParamInfo_v12040>("cuKernelGetParamInfo", 12040);
};

const Driver& driver() {
  static const Driver driver;
  return driver;
}

void check_driver(CUresult status, const char* call) {
  if (status != CUDA_SUCCESS) throw DeviceError(std::string(call) + " failed: error " + std::to_string(status));
}

// The block of all parameters, for a launch that gave them as one; null for one that gave an array of pointers.
const std::byte* joined_parameters(const CUDA_KERNEL_NODE_PARAMS& node) {
  if (node.extra == nullptr) return nullptr;
  for (void** option = node.extra; *option != CU_LAUNCH_PARAM_END; option += 2) {
    if (*option == CU_LAUNCH_PARAM_BUFFER_POINTER) return static_cast<const std::byte*>(option[1]);
  }
  return nullptr;
}

CUresult layout(const CUDA_KERNEL_NODE_PARAMS& node, std::size_t index, std::size_t& offset, std::size_t& size) {
  return node.func != nullptr ? driver().function_parameter(node.func, index, &offset, &size)
                              : driver().kernel_parameter(node.kern, index, &offset, &size);
}

#endif

}  // namespace

#if CUDART_VERSION >= 12050

KernelParameters::KernelParameters(cudaGraphNode_t node) {
  check_driver(driver().get(node, &node_), "cuGraphKernelNodeGetParams");
  const std::byte* const joined = joined_parameters(node_);
  std::size_t offset = 0, size = 0;
  while (layout(node_, offsets_.size(), offset, size) == CUDA_SUCCESS) {
    const void* const from = joined != nullptr               ? joined + offset
                             : node_.kernelParams != nullptr ? node_.kernelParams[offsets_.size()]
                                                             : nullptr;
    if (from == nullptr) throw DeviceError("the driver does not tell the parameters of a kernel that was captured");
    bytes_.resize(std::max(bytes_.size(), offset + size));
    std::copy_n(static_cast<const std::byte*>(from), size, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    offsets_.push_back(offset);
  }
}

void KernelParameters::set(cudaGraphExec_t graph, cudaGraphNode_t node) {
  std::vector<void*> parameters;
  for (const std::size_t offset : offsets_) parameters.push_back(bytes_.data() + offset);
  node_.kernelParams = parameters.data();
  node_.extra = nullptr;
  check_driver(driver().set(graph, node, &node_), "cuGraphExecKernelNodeSetParams");
}

#else

KernelParameters::KernelParameters(cudaGraphNode_t) {
  throw DeviceError("this build cannot read a kernel's parameters: build it with CUDA 12.5 or later");
}

void KernelParameters::set(cudaGraphExec_t, cudaGraphNode_t) {}

#endif

bool KernelParameters::same_kernel(const KernelParameters& other) const {
  return node_.func == other.node_.func && node_.kern == other.node_.kern && offsets_ == other.offsets_ &&
         bytes_.size() == other.bytes_.size();
}

}  // namespace deepplan
