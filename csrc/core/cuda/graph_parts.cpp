#include "core/cuda/graph_parts.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <utility>

#include "core/cuda/cuda_check.h"

namespace deepplan {
namespace {

struct Node {
  cudaGraphNode_t handle = nullptr;
  bool is_cut = false;
  int part = 0;
  std::size_t waits_for = 0;  // edges from nodes whose part is not known yet
  std::vector<std::size_t> next;
};

struct Edges {
  std::vector<cudaGraphNode_t> from, to;
};

// The one call whose signature depends on the toolkit: edges have had kinds since 12.3.
#if CUDART_VERSION >= 12030
using EdgeKind = cudaGraphEdgeData;
cudaError_t get_edges(cudaGraph_t graph, cudaGraphNode_t* from, cudaGraphNode_t* to, EdgeKind* kinds,
                      std::size_t* count) {
#if CUDART_VERSION >= 13000
  return cudaGraphGetEdges(graph, from, to, kinds, count);
#else
  return cudaGraphGetEdges_v2(graph, from, to, kinds, count);
#endif
}
#else
struct EdgeKind {};
cudaError_t get_edges(cudaGraph_t graph, cudaGraphNode_t* from, cudaGraphNode_t* to, EdgeKind*, std::size_t* count) {
  return cudaGraphGetEdges(graph, from, to, count);
}
#endif

Edges edges_of(cudaGraph_t graph) {
  std::size_t count = 0;
  check_cuda(get_edges(graph, nullptr, nullptr, nullptr, &count), "cudaGraphGetEdges");
  std::vector<EdgeKind> kinds(count);  // not wanted, but CUDA refuses to leave out what is not the default
  Edges edges{std::vector<cudaGraphNode_t>(count), std::vector<cudaGraphNode_t>(count)};
  if (count == 0) return edges;
  check_cuda(get_edges(graph, edges.from.data(), edges.to.data(), kinds.data(), &count), "cudaGraphGetEdges");
  return edges;
}

std::vector<Node> read(cudaGraph_t graph) {
  std::vector<Node> nodes;
  std::map<cudaGraphNode_t, std::size_t> index;
  for (const cudaGraphNode_t handle : nodes_of(graph)) {
    cudaGraphNodeType type{};
    check_cuda(cudaGraphNodeGetType(handle, &type), "cudaGraphNodeGetType");
    index[handle] = nodes.size();
    nodes.push_back({.handle = handle, .is_cut = type == cudaGraphNodeTypeWaitEvent, .next = {}});
  }
  const Edges edges = edges_of(graph);
  for (std::size_t edge = 0; edge < edges.from.size(); ++edge) {
    const std::size_t to = index.at(edges.to[edge]);
    nodes[index.at(edges.from[edge])].next.push_back(to);
    ++nodes[to].waits_for;
  }
  return nodes;
}

// Along every path parts never go down, and go up by one at each cut.
void assign_parts(std::vector<Node>& nodes) {
  std::vector<std::size_t> known;
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    if (nodes[node].is_cut) nodes[node].part = 1;
    if (nodes[node].waits_for == 0) known.push_back(node);
  }
  while (!known.empty()) {
    const Node& node = nodes[known.back()];
    known.pop_back();
    for (const std::size_t to : node.next) {
      Node& next = nodes[to];
      next.part = std::max(next.part, node.part + (next.is_cut ? 1 : 0));
      if (--next.waits_for == 0) known.push_back(to);
    }
  }
}

GraphPart copy_of_part(cudaGraph_t graph, const std::vector<Node>& nodes, int part) {
  cudaGraph_t copied = nullptr;
  check_cuda(cudaGraphClone(&copied, graph), "cudaGraphClone");
  GraphPart copy{.graph = CapturedGraph(copied), .nodes = std::vector<cudaGraphNode_t>(nodes.size())};
  bool has_work = false;
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    cudaGraphNode_t in_copy = nullptr;
    check_cuda(cudaGraphNodeFindInClone(&in_copy, nodes[node].handle, copied), "cudaGraphNodeFindInClone");
    if (nodes[node].part == part && !nodes[node].is_cut) {
      has_work = true;
      copy.nodes[node] = in_copy;
    } else {
      check_cuda(cudaGraphDestroyNode(in_copy), "cudaGraphDestroyNode");
    }
  }
  if (!has_work) copy.graph.reset();
  return copy;
}

}  // namespace

std::vector<cudaGraphNode_t> nodes_of(cudaGraph_t graph) {
  std::size_t count = 0;
  check_cuda(cudaGraphGetNodes(graph, nullptr, &count), "cudaGraphGetNodes");
  std::vector<cudaGraphNode_t> nodes(count);
  if (count > 0) check_cuda(cudaGraphGetNodes(graph, nodes.data(), &count), "cudaGraphGetNodes");
  return nodes;
}

std::vector<GraphPart> cut_into_parts(cudaGraph_t captured) {
  std::vector<Node> nodes = read(captured);
  assign_parts(nodes);
  int last = 0;
  for (const Node& node : nodes) last = std::max(last, node.part);
  std::vector<GraphPart> parts;
  for (int part = 0; part <= last; ++part) parts.push_back(copy_of_part(captured, nodes, part));
  return parts;
}

}  // namespace deepplan
