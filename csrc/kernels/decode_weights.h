#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "core/weight_format.h"

namespace deepplan::kernels {

// Whether the current device can run the kernels: cudaErrorNoKernelImageForDevice where they were not compiled for it.
// Also loads them, which a stream that is being captured cannot.
cudaError_t prepare_decode_weights();

// Decodes a coded piece (core/weight_code.h) on a stream of the current device, with at most `max_thread_blocks` of 256
// threads. Both ranges are device memory, 16-byte aligned and apart. Can be captured in a CUDA graph. Whatever the
// coded bytes hold, nothing outside the two ranges is touched; the sizes must be ones that check_piece accepts.
cudaError_t launch_decode_weights(WeightFormat format, const void* coded, std::size_t coded_bytes, void* plain,
                                  std::size_t plain_bytes, int max_thread_blocks, cudaStream_t stream);

}  // namespace deepplan::kernels
