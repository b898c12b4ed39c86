#pragma once

#include <cuda_runtime_api.h>

#include "core/device_id.h"
#include "core/weight_code.h"

namespace deepplan {

// Device::can_decode and Device::decode: kernels are there only in a build that had an nvcc.
bool cuda_can_decode(DeviceId device);
void cuda_decode(DeviceId device, void* plain, const void* coded, const CodedPiece& piece, int max_thread_blocks,
                 cudaStream_t stream);

}  // namespace deepplan
