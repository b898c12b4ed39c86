// The parameters of a kernel in a captured graph, whichever library launched it.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>
#include <vector>

namespace deepplan {

// A copy of them, to be changed and given to an executable graph. The runtime's calls know only kernels that were
// registered with it; the driver's know all.
class KernelParameters {
 public:
  // DeviceError where the driver does not tell how they are laid out: it must be of CUDA 12.4 at least.
  explicit KernelParameters(cudaGraphNode_t node);

  bool same_kernel(const KernelParameters& other) const;
  // All parameters, one after another; what is between them for alignment is 0.
  std::span<std::byte> bytes() { return bytes_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  void set(cudaGraphExec_t graph, cudaGraphNode_t node);

 private:
  CUDA_KERNEL_NODE_PARAMS node_{};
  std::vector<std::size_t> offsets_;
  std::vector<std::byte> bytes_;
};

}  // namespace deepplan
