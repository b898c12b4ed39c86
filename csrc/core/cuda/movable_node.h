// Where the nodes of a captured graph keep addresses of memory that may move.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "core/device.h"

namespace deepplan {

// A node whose parameters hold addresses in spans. CUDA tells parameters only as bytes; two captures tell which of them
// are addresses. Kernels take them by themselves, in structures and in descriptors of tensors alike.
class MovableNode {
 public:
  virtual ~MovableNode() = default;
  // Makes launches of `graph`, in which `node` is a copy of this node, find each span `by` so many bytes further up
  // than when it was captured.
  virtual void move(cudaGraphExec_t graph, cudaGraphNode_t node, const std::vector<std::ptrdiff_t>& by) = 0;
  // Whether it means the allocation at an address, so that it has to be told of a new one at the same address.
  virtual bool means_allocation() const { return false; }
};

// One for each of nodes_of(captured); null for a node that holds no address in a span. DeviceError, saying what, for
// captures that differ otherwise than `again` should, and for what cannot be made to move.
std::vector<std::unique_ptr<MovableNode>> movable_nodes(cudaGraph_t captured, const ShiftedCapture& again);

}  // namespace deepplan
