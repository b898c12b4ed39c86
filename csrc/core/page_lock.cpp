#include "core/page_lock.h"

#ifdef DEEPPLAN_WITH_CUDA
#include <cuda_runtime_api.h>

#include <string>

#include "core/device.h"
#include "core/error.h"
#endif

namespace deepplan {

#ifdef DEEPPLAN_WITH_CUDA

void page_lock(void* data, std::size_t bytes) {
  if (device_count(Backend::Cuda) == 0) return;
  const cudaError_t status = cudaHostRegister(data, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped);
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  throw OutOfMemory("CUDA cannot page-lock " + format_bytes(bytes) + " of host memory: " + cudaGetErrorString(status));
}

void page_unlock(void* data) noexcept {
  if (cudaHostUnregister(data) != cudaSuccess) (void)cudaGetLastError();
}

#else

void page_lock(void*, std::size_t) {}
void page_unlock(void*) noexcept {}

#endif

}  // namespace deepplan
