#include "core/cuda/cuda_graph.h"

#include <string>
#include <utility>

#include "core/cuda/cuda_check.h"
#include "core/cuda/cuda_stream.h"
#include "core/error.h"

namespace deepplan {

CudaGraph::CudaGraph(int device, cudaGraph_t captured, const ShiftedCapture* again) : device_(device) {
  const CudaDeviceGuard guard(device);
  CudaStream stream(device);
  std::vector<std::unique_ptr<MovableNode>> movable;
  if (again != nullptr) {
    spans_ = again->spans;
    movable = movable_nodes(captured, *again);
  }
  moved_by_.resize(spans_.size());
  for (GraphPart& part : cut_into_parts(captured)) {
    Part& added = parts_.emplace_back();
    added.moved_by = moved_by_;
    if (part.graph == nullptr) continue;
    cudaGraphExec_t graph = nullptr;
    check_cuda(cudaGraphInstantiate(&graph, part.graph.get(), 0), "cudaGraphInstantiate");
    added.launched.reset(graph);
    check_cuda(cudaGraphUpload(graph, static_cast<cudaStream_t>(stream.native())), "cudaGraphUpload");
    for (std::size_t node = 0; node < movable.size(); ++node) {
      if (part.nodes[node] != nullptr && movable[node] != nullptr) {
        added.moves.push_back({.node = part.nodes[node], .how = std::move(movable[node])});
      }
    }
    if (!added.moves.empty()) added.source = std::move(part.graph);
  }
  stream.synchronize();
}

void CudaGraph::move_to(const std::vector<const char*>& begins) {
  if (begins.size() != spans_.size()) {
    throw InvalidArgument(std::to_string(begins.size()) + " addresses were given to a graph of " +
                          std::to_string(spans_.size()) + " spans");
  }
  for (std::size_t span = 0; span < spans_.size(); ++span) moved_by_[span] = begins[span] - spans_[span].begin;
}

void CudaGraph::launch(int part, Stream& stream) {
  if (stream.device() != DeviceId{Backend::Cuda, device_}) {
    throw InvalidArgument("a graph of " + to_string(DeviceId{Backend::Cuda, device_}) + " was given to a stream of " +
                          to_string(stream.device()));
  }
  if (part < 0 || part >= part_count()) {
    throw InvalidArgument("part " + std::to_string(part) + " of a graph of " + std::to_string(part_count()));
  }
  Part& here = parts_[static_cast<std::size_t>(part)];
  if (here.launched == nullptr) return;
  const CudaDeviceGuard guard(device_);
  // Only now: the host has time for it while earlier parts run or wait.
  const bool has_moved = here.moved_by != moved_by_;
  if (has_moved) here.moved_by.clear();  // of a move that fails half way nothing is taken for done
  for (Move& move : here.moves) {
    if (has_moved || move.how->means_allocation()) move.how->move(here.launched.get(), move.node, moved_by_);
  }
  here.moved_by = moved_by_;
  check_cuda(cudaGraphLaunch(here.launched.get(), static_cast<cudaStream_t>(stream.native())), "cudaGraphLaunch");
}

}  // namespace deepplan
