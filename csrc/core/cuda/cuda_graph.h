#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "core/cuda/graph_parts.h"
#include "core/cuda/movable_node.h"
#include "core/device.h"

namespace deepplan {

// A captured graph, cut into parts and uploaded so that its first launch costs no more than later ones.
class CudaGraph final : public LaunchGraph {
 public:
  // `again` is null for one that stays where it was captured.
  CudaGraph(int device, cudaGraph_t captured, const ShiftedCapture* again);
  int part_count() const override { return static_cast<int>(parts_.size()); }
  void launch(int part, Stream& stream) override;
  std::size_t span_count() const override { return spans_.size(); }
  void move_to(const std::vector<const char*>& begins) override;

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const noexcept { (void)cudaGraphExecDestroy(graph); }
  };
  struct Move {
    cudaGraphNode_t node;
    std::unique_ptr<MovableNode> how;
  };
  struct Part {
    std::unique_ptr<CUgraphExec_st, Destroy> launched;  // null where there is no work between two cuts
    CapturedGraph source;                               // whose nodes the moves name; null where nothing moves
    std::vector<Move> moves;
    std::vector<std::ptrdiff_t> moved_by;  // each span, since it was captured
  };
  int device_;
  std::vector<MovableSpan> spans_;
  std::vector<std::ptrdiff_t> moved_by_;  // what the next launches are to find
  std::vector<Part> parts_;
};

}  // namespace deepplan
