#pragma once

#include <memory>
#include <string>

#include "core/device.h"

namespace deepplan {

// 0 without a driver or a GPU; never throws.
int cuda_device_count() noexcept;
// Why it is 0, in the driver's words; empty when it is not.
std::string cuda_unavailable_reason();

// The index must be below cuda_device_count().
std::shared_ptr<Device> make_cuda_device(int index);

}  // namespace deepplan
