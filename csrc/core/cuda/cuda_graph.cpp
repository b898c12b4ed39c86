#include "core/cuda/cuda_graph.h"

#include <string>

#include "core/cuda/cuda_check.h"
#include "core/cuda/cuda_stream.h"
#include "core/cuda/graph_parts.h"
#include "core/error.h"

namespace deepplan {

CudaGraph::CudaGraph(int device, cudaGraph_t captured) : device_(device) {
  const CudaDeviceGuard guard(device);
  CudaStream stream(device);
  for (const CapturedGraph& part : cut_into_parts(captured)) {
    Part& added = parts_.emplace_back();
    if (part == nullptr) continue;
    cudaGraphExec_t graph = nullptr;
    check_cuda(cudaGraphInstantiate(&graph, part.get(), 0), "cudaGraphInstantiate");
    added.reset(graph);
    check_cuda(cudaGraphUpload(graph, static_cast<cudaStream_t>(stream.native())), "cudaGraphUpload");
  }
  stream.synchronize();
}

void CudaGraph::launch(int part, Stream& stream) {
  if (stream.device() != DeviceId{Backend::Cuda, device_}) {
    throw InvalidArgument("a graph of " + to_string(DeviceId{Backend::Cuda, device_}) + " was given to a stream of " +
                          to_string(stream.device()));
  }
  if (part < 0 || part >= part_count()) {
    throw InvalidArgument("part " + std::to_string(part) + " of a graph of " + std::to_string(part_count()));
  }
  const Part& launched = parts_[static_cast<std::size_t>(part)];
  if (launched == nullptr) return;
  const CudaDeviceGuard guard(device_);
  check_cuda(cudaGraphLaunch(launched.get(), static_cast<cudaStream_t>(stream.native())), "cudaGraphLaunch");
}

}  // namespace deepplan
