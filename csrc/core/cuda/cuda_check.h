#pragma once

#include <cuda_runtime_api.h>

#include <optional>
#include <source_location>

namespace deepplan {

// Throws DeviceError, or OutOfMemory for an allocation that failed, naming `call` and the driver's reason, from the
// caller's place. Clears the runtime's last error, so that a later check of someone else does not report it again.
void check_cuda(cudaError_t status, const char* call, std::source_location where = std::source_location::current());

// Makes a device the calling thread's current one while it lives, then the one before it again.
class CudaDeviceGuard {
 public:
  // Leaves everything as it is.
  CudaDeviceGuard() = default;
  explicit CudaDeviceGuard(int device, std::source_location where = std::source_location::current());
  ~CudaDeviceGuard();
  CudaDeviceGuard(const CudaDeviceGuard&) = delete;
  CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;

 private:
  std::optional<int> previous_;  // nothing when it was current already
};

}  // namespace deepplan
