#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "core/device.h"

namespace deepplan {

// A captured graph, cut into parts and uploaded so that its first launch costs no more than later ones.
class CudaGraph final : public LaunchGraph {
 public:
  CudaGraph(int device, cudaGraph_t captured);
  int part_count() const override { return static_cast<int>(parts_.size()); }
  void launch(int part, Stream& stream) override;

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const noexcept { (void)cudaGraphExecDestroy(graph); }
  };
  using Part = std::unique_ptr<CUgraphExec_st, Destroy>;  // null where there is no work between two cuts
  int device_;
  std::vector<Part> parts_;
};

}  // namespace deepplan
