#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/device.h"

namespace deepplan {

// A captured graph, uploaded so that its first launch costs no more than later ones.
class CudaGraph final : public LaunchGraph {
 public:
  CudaGraph(int device, cudaGraph_t captured);
  void launch(Stream& stream) override;

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const noexcept { (void)cudaGraphExecDestroy(graph); }
  };
  int device_;
  std::unique_ptr<CUgraphExec_st, Destroy> graph_;
};

}  // namespace deepplan
