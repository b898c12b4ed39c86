#include <algorithm>

#include "kernels/decode_lane.h"
#include "kernels/decode_weights.h"

namespace deepplan::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kLanes;

struct Piece {
  const char* coded;
  const char* headers;
  Escapes escapes;
  char* plain;
  std::uint32_t plain_bytes;
  std::uint32_t blocks;
};

// The sum of `value` over the lanes before this one.
struct SumBefore {
  unsigned lane;
  __device__ unsigned operator()(unsigned value) const {
    unsigned sum = value;
#pragma unroll
    for (unsigned distance = 1; distance < kLanes; distance *= 2) {
      const unsigned other = __shfl_up_sync(~0U, sum, distance);
      if (lane >= distance) sum += other;
    }
    return sum - value;
  }
};

// A warp a block of weights. Its reference is decode_block in core/weight_block.cpp.
template <WeightFormat format>
__global__ void __launch_bounds__(kThreads) decode_weights(Piece piece) {
  using Layout = BlockLayout<format>;
  const unsigned lane = threadIdx.x % kLanes;
  for (std::uint32_t block = blockIdx.x * kWarps + threadIdx.x / kLanes; block < piece.blocks;
       block += gridDim.x * kWarps) {
    const std::uint32_t at = block * Layout::kBlockBytes;
    decode_lane<format>(piece.coded + block * Layout::kBodyBytes, load<std::uint32_t>(piece.headers + block * 4),
                        piece.escapes, lane, piece.plain + at, piece.plain_bytes - at, SumBefore{lane});
  }
}

const void* kernel(WeightFormat format) {
  switch (format) {
    case WeightFormat::BFloat16:
      return reinterpret_cast<const void*>(&decode_weights<WeightFormat::BFloat16>);
    case WeightFormat::Float16:
      return reinterpret_cast<const void*>(&decode_weights<WeightFormat::Float16>);
    case WeightFormat::Float32:
      return reinterpret_cast<const void*>(&decode_weights<WeightFormat::Float32>);
  }
  return nullptr;
}

}  // namespace

cudaError_t prepare_decode_weights() {
  for (const WeightFormat format : {WeightFormat::BFloat16, WeightFormat::Float16, WeightFormat::Float32}) {
    cudaFuncAttributes attributes{};
    const cudaError_t status = cudaFuncGetAttributes(&attributes, kernel(format));
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

cudaError_t launch_decode_weights(WeightFormat format, const void* coded, std::size_t coded_bytes, void* plain,
                                  std::size_t plain_bytes, int max_thread_blocks, cudaStream_t stream) {
  if (plain_bytes == 0) return cudaSuccess;
  const PieceLayout layout = piece_layout(format, plain_bytes);
  const auto* bytes = static_cast<const char*>(coded);
  Piece piece{bytes,
              bytes + layout.headers_at,
              {bytes, static_cast<std::uint32_t>(layout.escapes_at),
               static_cast<std::uint32_t>(coded_bytes - layout.escapes_at)},
              static_cast<char*>(plain),
              static_cast<std::uint32_t>(plain_bytes),
              static_cast<std::uint32_t>(layout.blocks)};
  const unsigned wanted = (piece.blocks + kWarps - 1) / kWarps;
  const unsigned thread_blocks = std::min(wanted, static_cast<unsigned>(std::max(max_thread_blocks, 1)));
  void* arguments[] = {&piece};
  return cudaLaunchKernel(kernel(format), dim3(thread_blocks), dim3(kThreads), arguments, 0, stream);
}

}  // namespace deepplan::kernels
