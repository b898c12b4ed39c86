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

struct GraphPart {
  CapturedGraph graph;  // null for a part without work
  // For each of nodes_of() the captured graph its copy in this part; null where it has none.
  std::vector<cudaGraphNode_t> nodes;
};

// In the order of their capture.
std::vector<cudaGraphNode_t> nodes_of(cudaGraph_t graph);

// One graph for each part, in order. A node belongs to the earliest part that all it depends on allows. `captured`
// stays as it is. DeviceError for what CUDA cannot copy.
std::vector<GraphPart> cut_into_parts(cudaGraph_t captured);

}  // namespace deepplan
