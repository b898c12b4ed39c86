// Cutting what was captured where CudaStream::cut() left its marks.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

namespace deepplan {

struct DestroyCudaGraph {
  void operator()(cudaGraph_t graph) const noexcept { (void)cudaGraphDestroy(graph); }
};
using CapturedGraph = std::unique_ptr<CUgraph_st, DestroyCudaGraph>;

// One graph for each part, in order; null for one without work. A node belongs to the earliest part that all it depends
// on allows. `captured` stays as it is. DeviceError for what CUDA cannot copy.
std::vector<CapturedGraph> cut_into_parts(cudaGraph_t captured);

}  // namespace deepplan
