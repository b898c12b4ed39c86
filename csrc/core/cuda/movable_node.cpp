#include "core/cuda/movable_node.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "core/cuda/cuda_check.h"
#include "core/cuda/graph_parts.h"
#include "core/cuda/kernel_parameters.h"
#include "core/error.h"

namespace deepplan {
namespace {

std::uint64_t word_at(std::span<const std::byte> bytes, std::size_t at) {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

// Which span a word is an address in. An end counts: some take it for a limit, as they may take what is outside, so
// that only the difference decides. What differs otherwise is of other memory, or nothing that was ever written.
std::optional<std::size_t> span_of(std::uint64_t word, std::uint64_t shifted, const std::vector<MovableSpan>& spans) {
  if (word == shifted) return std::nullopt;
  for (std::size_t span = 0; span < spans.size(); ++span) {
    if (shifted - word == static_cast<std::uint64_t>(ShiftedCapture::shift_bytes(span))) return span;
  }
  for (const MovableSpan& span : spans) {
    const auto begin = reinterpret_cast<std::uint64_t>(span.begin);
    if (word >= begin && word < begin + span.size_bytes) {
      throw DeviceError("an address in captured work moved otherwise than the memory that it lies in");
    }
  }
  return std::nullopt;
}

class MovableKernel final : public MovableNode {
 public:
  // Addresses are aligned to 8 bytes: wherever parameters keep them, they keep them so.
  static std::unique_ptr<MovableNode> compare(cudaGraphNode_t node, cudaGraphNode_t shifted,
                                              const std::vector<MovableSpan>& spans) {
    KernelParameters parameters(node);
    const KernelParameters other(shifted);
    if (!parameters.same_kernel(other)) throw DeviceError("captured again, other kernels are launched");
    std::vector<Address> addresses;
    const std::span<const std::byte> bytes = std::as_const(parameters).bytes();
    for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes.size(); at += sizeof(std::uint64_t)) {
      const std::uint64_t word = word_at(bytes, at);
      const auto span = span_of(word, word_at(other.bytes(), at), spans);
      if (span) addresses.push_back({.at = at, .span = *span, .captured = word});
    }
    if (addresses.empty()) return nullptr;
    return std::unique_ptr<MovableNode>(new MovableKernel(std::move(parameters), std::move(addresses)));
  }

  void move(cudaGraphExec_t graph, cudaGraphNode_t node, const std::vector<std::ptrdiff_t>& by) override {
    for (const Address& address : addresses_) {
      const std::uint64_t moved = address.captured + static_cast<std::uint64_t>(by[address.span]);
      std::memcpy(parameters_.bytes().data() + address.at, &moved, sizeof moved);
    }
    parameters_.set(graph, node);
  }

 private:
  struct Address {
    std::size_t at = 0;  // in the parameters
    std::size_t span = 0;
    std::uint64_t captured = 0;
  };
  MovableKernel(KernelParameters parameters, std::vector<Address> addresses)
      : parameters_(std::move(parameters)), addresses_(std::move(addresses)) {}
  KernelParameters parameters_;
  std::vector<Address> addresses_;
};

std::optional<std::size_t> span_of(const void* address, const void* shifted, const std::vector<MovableSpan>& spans) {
  return span_of(reinterpret_cast<std::uint64_t>(address), reinterpret_cast<std::uint64_t>(shifted), spans);
}

class MovableCopy final : public MovableNode {
 public:
  static std::unique_ptr<MovableNode> compare(cudaGraphNode_t node, cudaGraphNode_t shifted,
                                              const std::vector<MovableSpan>& spans) {
    const cudaMemcpy3DParms copy = parameters_of(node), other = parameters_of(shifted);
    const auto from = span_of(copy.srcPtr.ptr, other.srcPtr.ptr, spans);
    if (span_of(copy.dstPtr.ptr, other.dstPtr.ptr, spans)) throw DeviceError("captured work writes to weights");
    if (!from) return nullptr;
    return std::unique_ptr<MovableNode>(new MovableCopy(copy, *from));
  }

  void move(cudaGraphExec_t graph, cudaGraphNode_t node, const std::vector<std::ptrdiff_t>& by) override {
    cudaMemcpy3DParms moved = copy_;
    moved.srcPtr.ptr = static_cast<char*>(copy_.srcPtr.ptr) + by[span_];
    check_cuda(cudaGraphExecMemcpyNodeSetParams(graph, node, &moved), "cudaGraphExecMemcpyNodeSetParams");
  }
  bool means_allocation() const override { return true; }

 private:
  static cudaMemcpy3DParms parameters_of(cudaGraphNode_t node) {
    cudaMemcpy3DParms copy{};
    check_cuda(cudaGraphMemcpyNodeGetParams(node, &copy), "cudaGraphMemcpyNodeGetParams");
    return copy;
  }
  MovableCopy(const cudaMemcpy3DParms& copy, std::size_t span) : copy_(copy), span_(span) {}
  cudaMemcpy3DParms copy_;
  std::size_t span_;
};

void check_fill(cudaGraphNode_t node, cudaGraphNode_t shifted, const std::vector<MovableSpan>& spans) {
  cudaMemsetParams fill{}, other{};
  check_cuda(cudaGraphMemsetNodeGetParams(node, &fill), "cudaGraphMemsetNodeGetParams");
  check_cuda(cudaGraphMemsetNodeGetParams(shifted, &other), "cudaGraphMemsetNodeGetParams");
  if (span_of(fill.dst, other.dst, spans)) throw DeviceError("captured work writes to weights");
}

cudaGraphNodeType type_of(cudaGraphNode_t node) {
  cudaGraphNodeType type{};
  check_cuda(cudaGraphNodeGetType(node, &type), "cudaGraphNodeGetType");
  return type;
}

std::unique_ptr<MovableNode> compare(cudaGraphNode_t node, cudaGraphNode_t shifted,
                                     const std::vector<MovableSpan>& spans) {
  const cudaGraphNodeType type = type_of(node);
  if (type_of(shifted) != type) throw DeviceError("captured again, it is other work");
  switch (type) {
    case cudaGraphNodeTypeKernel:
      return MovableKernel::compare(node, shifted, spans);
    case cudaGraphNodeTypeMemcpy:
      return MovableCopy::compare(node, shifted, spans);
    case cudaGraphNodeTypeMemset:
      check_fill(node, shifted, spans);
      return nullptr;
    case cudaGraphNodeTypeEmpty:
    case cudaGraphNodeTypeEventRecord:
    case cudaGraphNodeTypeWaitEvent:
      return nullptr;
    default:
      throw DeviceError("captured work of type " + std::to_string(type) + " cannot be moved");
  }
}

}  // namespace

std::vector<std::unique_ptr<MovableNode>> movable_nodes(cudaGraph_t captured, const ShiftedCapture& again) {
  const std::vector<cudaGraphNode_t> nodes = nodes_of(captured);
  const std::vector<cudaGraphNode_t> shifted = nodes_of(static_cast<cudaGraph_t>(again.captured));
  if (nodes.size() != shifted.size()) throw DeviceError("captured again, it is other work");
  std::vector<std::unique_ptr<MovableNode>> movable;
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    movable.push_back(compare(nodes[node], shifted[node], again.spans));
  }
  return movable;
}

}  // namespace deepplan
