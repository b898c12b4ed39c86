#pragma once

#include <cstddef>

#include "core/device.h"
#include "core/weight_code.h"

namespace deepplan {

// How many plain bytes `device` decodes in a second, in GB/s (1e9): the median of `repeats` decodings of `bytes`
// weights around zero, as models have them, in one piece. Nothing else should run there. InvalidArgument for less than
// one weight, more than a piece holds, or no repeat; DeviceError where the device cannot decode.
double measure_decode_gbps(Device& device, WeightFormat format, std::size_t bytes, int repeats);

}  // namespace deepplan
