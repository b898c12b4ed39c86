#include "core/cuda/cuda_decode.h"

#include "core/cuda/cuda_check.h"
#include "core/error.h"
#ifdef DEEPPLAN_WITH_KERNELS
#include "kernels/decode_weights.h"
#endif

namespace deepplan {

#ifdef DEEPPLAN_WITH_KERNELS

bool cuda_can_decode(DeviceId device) {
  const CudaDeviceGuard guard(device.index);
  const cudaError_t status = kernels::prepare_decode_weights();
  if (status == cudaSuccess) return true;
  (void)cudaGetLastError();
  return false;
}

void cuda_decode(DeviceId device, void* plain, const void* coded, const CodedPiece& piece, int max_thread_blocks,
                 cudaStream_t stream) {
  check_decoding(piece, coded, plain);
  const CudaDeviceGuard guard(device.index);
  const cudaError_t status = kernels::launch_decode_weights(piece.format, coded, piece.coded_bytes, plain,
                                                            piece.plain_bytes, max_thread_blocks, stream);
  if (status == cudaErrorNoKernelImageForDevice) {
    (void)cudaGetLastError();
    throw DeviceError(to_string(device) +
                      " cannot decode weights: deepplan's kernels were not built for it. Build deepplan again with its "
                      "architecture in CMAKE_CUDA_ARCHITECTURES, or keep the weights as they are");
  }
  check_cuda(status, "cudaLaunchKernel");
}

#else

bool cuda_can_decode(DeviceId) { return false; }

void cuda_decode(DeviceId device, void* plain, const void* coded, const CodedPiece& piece, int, cudaStream_t) {
  check_decoding(piece, coded, plain);
  throw DeviceError(to_string(device) +
                    " cannot decode weights: deepplan was built without nvcc. Install the CUDA toolkit and build "
                    "deepplan again, or keep the weights as they are");
}

#endif

}  // namespace deepplan
