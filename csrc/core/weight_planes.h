#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "core/weight_format.h"

namespace deepplan {

// The order of a block's bytes and bits, on the CPU: see core/weight_format.h.

static_assert(std::endian::native == std::endian::little, "the planes are put together as little-endian words");

// One byte of each weight. Loops over whole columns are what compilers vectorise.
using Column = std::array<std::uint8_t, kWeightsPerBlock>;

// Calls each(weight, lane, bit) for every vector of a block: where its first weight lies, and whose bit it is.
template <unsigned kVectorWeights, typename Each>
void for_each_vector(const Each& each) {
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    for (unsigned bit = 0; bit < kWeightsPerLane; bit += kVectorWeights) {
      each(bit * kLanes + lane * kVectorWeights, lane, bit);
    }
  }
}

constexpr unsigned place_in_byte_plane(unsigned lane, unsigned bit) { return bit / 16 * 512 + lane * 16 + bit % 16; }

template <unsigned kVectorWeights>
void to_lanes(const Column& column, Column& by_lane) {
  for_each_vector<kVectorWeights>([&](unsigned weight, unsigned lane, unsigned bit) {
    std::memcpy(&by_lane[lane * kWeightsPerLane + bit], &column[weight], kVectorWeights);
  });
}

template <unsigned kVectorWeights>
void from_lanes(const Column& by_lane, Column& column) {
  for_each_vector<kVectorWeights>([&](unsigned weight, unsigned lane, unsigned bit) {
    std::memcpy(&column[weight], &by_lane[lane * kWeightsPerLane + bit], kVectorWeights);
  });
}

constexpr std::uint64_t kOneInEachByte = 0x0101010101010101U;

// One bit of each of a column's bytes, as a plane. The product gathers the lowest bits of 8 bytes in its top byte.
inline void pack_plane(const Column& by_lane, unsigned shift, char* plane) {
  for (unsigned i = 0; i < kBitPlaneBytes; ++i) {
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, &by_lane[8 * i], sizeof bytes);
    plane[i] = static_cast<char>(((bytes >> shift & kOneInEachByte) * 0x0102040810204080U) >> 56);
  }
}

// The reverse; `by_lane` gains the bit. Byte i of the product keeps bit i, and the sum carries it to the byte's top.
inline void unpack_plane(const char* plane, unsigned shift, Column& by_lane) {
  for (unsigned i = 0; i < kBitPlaneBytes; ++i) {
    const std::uint64_t bits = static_cast<std::uint8_t>(plane[i]);
    const std::uint64_t apart = (bits * kOneInEachByte & 0x8040201008040201U) + 0x7f * kOneInEachByte;
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, &by_lane[8 * i], sizeof bytes);
    bytes |= (apart >> 7 & kOneInEachByte) << shift;
    std::memcpy(&by_lane[8 * i], &bytes, sizeof bytes);
  }
}

}  // namespace deepplan
