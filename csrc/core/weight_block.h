#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/weight_format.h"

namespace deepplan {

// One block of a coded piece, on the CPU: see core/weight_format.h.
struct BlockSummary {
  std::uint8_t base = 0;
  unsigned escapes = 0;
};

// Codes kWeightsPerBlock weights into a body of kBodyBytes, and lists its escapes, of which there may be one a weight.
template <WeightFormat format>
BlockSummary encode_block(const char* weights, char* body, char* escapes);

// The reverse. False, and undefined weights, when there are fewer escapes than the body refers to.
template <WeightFormat format>
bool decode_block(const char* body, std::uint8_t base, std::span<const char> escapes, char* weights);

}  // namespace deepplan
