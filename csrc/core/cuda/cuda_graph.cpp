#include "core/cuda/cuda_graph.h"

#include "core/cuda/cuda_check.h"
#include "core/cuda/cuda_stream.h"
#include "core/error.h"

namespace deepplan {

CudaGraph::CudaGraph(int device, cudaGraph_t captured) : device_(device) {
  const CudaDeviceGuard guard(device);
  cudaGraphExec_t graph = nullptr;
  check_cuda(cudaGraphInstantiate(&graph, captured, 0), "cudaGraphInstantiate");
  graph_.reset(graph);
  CudaStream stream(device);
  check_cuda(cudaGraphUpload(graph, static_cast<cudaStream_t>(stream.native())), "cudaGraphUpload");
  stream.synchronize();
}

void CudaGraph::launch(Stream& stream) {
  if (stream.device() != DeviceId{Backend::Cuda, device_}) {
    throw InvalidArgument("a graph of " + to_string(DeviceId{Backend::Cuda, device_}) + " was given to a stream of " +
                          to_string(stream.device()));
  }
  const CudaDeviceGuard guard(device_);
  check_cuda(cudaGraphLaunch(graph_.get(), static_cast<cudaStream_t>(stream.native())), "cudaGraphLaunch");
}

}  // namespace deepplan
