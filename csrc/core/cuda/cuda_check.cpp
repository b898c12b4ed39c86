#include "core/cuda/cuda_check.h"

#include <string>

#include "core/error.h"

namespace deepplan {

void check_cuda(cudaError_t status, const char* call, std::source_location where) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  const std::string message = std::string(call) + " failed: " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory(message, where);
  throw DeviceError(message, where);
}

CudaDeviceGuard::CudaDeviceGuard(int device, std::source_location where) {
  int current = 0;
  check_cuda(cudaGetDevice(&current), "cudaGetDevice", where);
  if (current == device) return;
  check_cuda(cudaSetDevice(device), "cudaSetDevice", where);
  previous_ = current;
}

CudaDeviceGuard::~CudaDeviceGuard() {
  if (previous_) (void)cudaSetDevice(*previous_);
}

}  // namespace deepplan
