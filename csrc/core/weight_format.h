#pragma once

#include <cstddef>
#include <cstdint>

namespace deepplan {

// The layout of coded weights, shared by the CPU's coder and the kernel: nothing here needs more than C++17.
//
// A floating-point weight is a sign, an exponent and a mantissa. Sign and mantissa (the residual) are close to random;
// the exponents of trained weights crowd on a few neighbours. So each block keeps its residuals as they are, a base,
// and three bits a weight: how far the exponent lies below the base (0 to 6), or 7 for an exponent outside that window,
// an escape, which is listed apart. Lossless for any bytes.
//
// A coded piece: [bodies, one a block][headers, 32 bits a block][escapes, one byte each], each part padded to 16 bytes.
// A header: the block's base in the low 8 bits, above it the place of its first escape in the escapes.
// A body: [byte planes, 1024 bytes each: the residual's low bytes][index planes, 128 bytes each: the index's 3 bits]
//         [bit planes, 128 bytes each: the residual's bits above its whole bytes].
//
// The order inside a block is a warp's. Lane l makes, in step j, the weights [(j * 32 + l) * v, + v), which are 16
// bytes; its 32 weights are its bits b = j * v + k. They are bit b of word l of every bit plane, and byte (b / 16) *
// 512 + l * 16 + b % 16 of every byte plane. Escapes are listed by lane, then bit.
enum class WeightFormat { BFloat16, Float16, Float32 };

constexpr unsigned kWeightsPerBlock = 1024;
constexpr unsigned kLanes = 32;
constexpr unsigned kWeightsPerLane = 32;
constexpr unsigned kIndexPlanes = 3;
constexpr unsigned kEscape = 7;
constexpr unsigned kBitPlaneBytes = kWeightsPerBlock / 8;
constexpr unsigned kVectorBytes = 16;
// The place of an escape has 24 bits in a header.
constexpr std::size_t kMostPieceBytes = std::size_t{32} << 20;

template <WeightFormat format>
struct WeightBits;
template <>
struct WeightBits<WeightFormat::BFloat16> {
  using Word = std::uint16_t;
  static constexpr unsigned kMantissa = 7;
};
template <>
struct WeightBits<WeightFormat::Float16> {
  using Word = std::uint16_t;
  static constexpr unsigned kMantissa = 10;
};
template <>
struct WeightBits<WeightFormat::Float32> {
  using Word = std::uint32_t;
  static constexpr unsigned kMantissa = 23;
};

template <WeightFormat format>
struct BlockLayout {
  using Word = typename WeightBits<format>::Word;
  static constexpr unsigned kMantissaBits = WeightBits<format>::kMantissa;
  static constexpr unsigned kSignBit = 8 * sizeof(Word) - 1;
  static constexpr unsigned kExponentMask = (1U << (kSignBit - kMantissaBits)) - 1;
  static constexpr unsigned kResidualBits = kMantissaBits + 1;
  static constexpr unsigned kBytePlanes = kResidualBits / 8;
  static constexpr unsigned kBitPlanes = kResidualBits % 8;
  static constexpr unsigned kIndexAt = kBytePlanes * kWeightsPerBlock;
  static constexpr unsigned kBitsAt = kIndexAt + kIndexPlanes * kBitPlaneBytes;
  static constexpr unsigned kBodyBytes = kBitsAt + kBitPlanes * kBitPlaneBytes;
  static constexpr unsigned kBlockBytes = kWeightsPerBlock * sizeof(Word);
  static constexpr unsigned kVectorWeights = kVectorBytes / sizeof(Word);
};

constexpr std::size_t weight_bytes(WeightFormat format) { return format == WeightFormat::Float32 ? 4 : 2; }

constexpr std::size_t padded_to_vectors(std::size_t bytes) {
  return (bytes + kVectorBytes - 1) / kVectorBytes * kVectorBytes;
}

// Where the parts of a coded piece lie: a function of the weights' format and size alone.
struct PieceLayout {
  std::size_t blocks;
  std::size_t headers_at;
  std::size_t escapes_at;
};

constexpr PieceLayout piece_layout(WeightFormat format, std::size_t plain_bytes) {
  const std::size_t block_bytes = kWeightsPerBlock * weight_bytes(format);
  const std::size_t blocks = (plain_bytes + block_bytes - 1) / block_bytes;
  const std::size_t body_bytes = format == WeightFormat::BFloat16  ? BlockLayout<WeightFormat::BFloat16>::kBodyBytes
                                 : format == WeightFormat::Float16 ? BlockLayout<WeightFormat::Float16>::kBodyBytes
                                                                   : BlockLayout<WeightFormat::Float32>::kBodyBytes;
  const std::size_t headers_at = blocks * body_bytes;
  return {blocks, headers_at, headers_at + padded_to_vectors(blocks * sizeof(std::uint32_t))};
}

}  // namespace deepplan
