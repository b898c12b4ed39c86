#pragma once

#include <cstddef>
#include <cstdint>

#include "core/weight_format.h"
#include "kernels/device_words.h"

namespace deepplan::kernels {

// One lane's share of a block of coded weights: core/weight_format.h has the layout, core/weight_block.cpp the
// reference. Plain C++ but for the sum over lanes, so that the tests run it lane by lane without a GPU.

// The exponents of a lane's 32 weights, 4 to a word: weight b's is byte b / 4 % 4 of word b % 4 + b / 16 * 4. This
// order makes an index, which has a bit in each of 3 planes, a digit for pick_bytes in a table of the window's
// exponents.
struct LaneExponents {
  std::uint32_t word[8];
};

DEEPPLAN_HOST_DEVICE LaneExponents exponents_in_window(const std::uint32_t (&planes)[kIndexPlanes],
                                                       std::uint32_t base) {
  std::uint32_t from_0 = 0;
  std::uint32_t from_4 = 0;
  DEEPPLAN_UNROLL
  for (unsigned i = 0; i < 4; ++i) {
    from_0 |= ((base - i) & 0xff) << 8 * i;
    from_4 |= ((base - 4 - i) & 0xff) << 8 * i;
  }
  LaneExponents exponents;
  DEEPPLAN_UNROLL
  for (unsigned k = 0; k < 4; ++k) {
    const std::uint32_t digits =
        (planes[0] >> k & 0x11111111U) | (planes[1] >> k & 0x11111111U) << 1 | (planes[2] >> k & 0x11111111U) << 2;
    exponents.word[k] = pick_bytes(from_0, from_4, digits & 0xffff);
    exponents.word[k + 4] = pick_bytes(from_0, from_4, digits >> 16);
  }
  return exponents;
}

DEEPPLAN_HOST_DEVICE void set_exponent(LaneExponents& exponents, unsigned bit, std::uint32_t value) {
  const unsigned shift = bit / 4 % 4 * 8;
  const unsigned place = bit % 4 + bit / 16 * 4;
  // A choice among registers: an index would put them in memory.
  DEEPPLAN_UNROLL
  for (unsigned i = 0; i < 8; ++i) {
    const std::uint32_t mask = i == place ? 0xffU << shift : 0;
    exponents.word[i] = (exponents.word[i] & ~mask) | (value << shift & mask);
  }
}

// The escapes of a piece. Damaged bytes may ask for any place: one that is not there reads the piece's first byte, so
// that neither is anything outside read, nor does a load hang on a branch.
struct Escapes {
  const char* piece;
  std::uint32_t begin;
  std::uint32_t count;
  DEEPPLAN_HOST_DEVICE std::uint32_t at(std::uint32_t place) const {
    return load<std::uint8_t>(piece + (place < count ? begin + place : 0));
  }
};

DEEPPLAN_HOST_DEVICE void put_escapes(LaneExponents& exponents, std::uint32_t mask, const Escapes& escapes,
                                      std::uint32_t next) {
  // The first few at once, needed or not: one after the other, each would wait for memory. More than 4 are rare.
  constexpr unsigned kEarly = 4;
  std::uint32_t early = 0;
  DEEPPLAN_UNROLL
  for (unsigned i = 0; i < kEarly; ++i) early |= escapes.at(next + i) << 8 * i;
  for (unsigned i = 0; mask != 0; ++i, mask &= mask - 1) {
    set_exponent(exponents, lowest_one(mask), i < kEarly ? early >> 8 * i & 0xff : escapes.at(next + i));
  }
}

// What a lane reads of a body, apart from the indices.
template <WeightFormat format>
struct LaneResiduals {
  using Layout = BlockLayout<format>;
  Vector bytes[Layout::kBytePlanes][2];
  std::uint32_t bits[Layout::kBitPlanes > 0 ? Layout::kBitPlanes : 1];

  DEEPPLAN_HOST_DEVICE LaneResiduals(const char* body, unsigned lane) {
    DEEPPLAN_UNROLL
    for (unsigned plane = 0; plane < Layout::kBytePlanes; ++plane) {
      DEEPPLAN_UNROLL
      for (unsigned half = 0; half < 2; ++half) {
        bytes[plane][half] = load<Vector>(body + plane * kWeightsPerBlock + half * 512 + lane * kVectorBytes);
      }
    }
    if constexpr (Layout::kBitPlanes > 0) {
      DEEPPLAN_UNROLL
      for (unsigned plane = 0; plane < Layout::kBitPlanes; ++plane) {
        bits[plane] = load<std::uint32_t>(body + Layout::kBitsAt + plane * kBitPlaneBytes + lane * 4);
      }
    }
  }
  // The word that holds byte `bit` of a byte plane, as its byte bit % 4.
  DEEPPLAN_HOST_DEVICE std::uint32_t word(unsigned plane, unsigned bit) const {
    return bytes[plane][bit / 16].word[bit / 4 % 4];
  }
};

// The word of the weights from `bit` on: two of them in a 16-bit format.
template <WeightFormat format>
DEEPPLAN_HOST_DEVICE std::uint32_t assemble(const LaneExponents& exponents, const LaneResiduals<format>& residuals,
                                            unsigned bit) {
  const unsigned place = bit % 4 + bit / 16 * 4;
  const unsigned byte = bit / 4 % 4;
  if constexpr (format == WeightFormat::Float32) {
    const unsigned in = bit % 4;
    const std::uint32_t low = pick_bytes(residuals.word(0, bit), residuals.word(1, bit), in | (in + 4) << 4);
    const std::uint32_t residual = pick_bytes(low, residuals.word(2, bit), 0x0010U | (in + 4) << 8);
    const std::uint32_t exponent = exponents.word[place] >> byte * 8 & 0xff;
    return (residual << 8 & 0x80000000U) | exponent << 23 | (residual & 0x007fffffU);
  } else {
    // Each half holds one weight's: its exponent, and the lowest byte of its residual with zeros above.
    const std::uint32_t exponent =
        pick_bytes(exponents.word[place], exponents.word[place + 1], byte * 0x0011U | (byte + 4) * 0x1100U);
    const std::uint32_t low = pick_bytes(residuals.word(0, bit), 0, 0x4040U | bit % 4 | (bit % 4 + 1) << 8);
    if constexpr (format == WeightFormat::BFloat16) {
      return (low << 8 & 0x80008000U) | (exponent & 0x00ff00ffU) << 7 | (low & 0x007f007fU);
    } else {
      std::uint32_t word = (exponent & 0x001f001fU) << 10 | low;
      // Bits 8 and 9 of the mantissa, then the sign.
      DEEPPLAN_UNROLL
      for (unsigned plane = 0; plane < 3; ++plane) {
        const std::uint32_t two = residuals.bits[plane] >> bit & 3;
        word |= ((two | two << 15) & 0x00010001U) << (plane < 2 ? plane + 8 : 15);
      }
      return word;
    }
  }
}

// Writes a vector at byte `at` of a block, or those of its weights that lie before `end`.
template <WeightFormat format>
DEEPPLAN_HOST_DEVICE void store_up_to(char* plain, unsigned at, std::size_t end, const Vector& vector) {
  using Word = typename BlockLayout<format>::Word;
  if (at + kVectorBytes <= end) {
    store(plain + at, vector);
    return;
  }
  DEEPPLAN_UNROLL
  for (unsigned byte = 0; byte < kVectorBytes; byte += sizeof(Word)) {
    if (at + byte < end) store(plain + at + byte, static_cast<Word>(vector.word[byte / 4] >> byte % 4 * 8));
  }
}

// Decodes lane `lane` of the block with this body and header, into `plain`, of whose bytes there are `plain_bytes` (a
// block's, or less in the last block). `sum_before(n)` is the sum of n over the lanes before this one; every lane calls
// it once.
template <WeightFormat format, typename SumBefore>
DEEPPLAN_HOST_DEVICE void decode_lane(const char* body, std::uint32_t header, const Escapes& escapes, unsigned lane,
                                      char* plain, std::size_t plain_bytes, const SumBefore& sum_before) {
  using Layout = BlockLayout<format>;
  std::uint32_t planes[kIndexPlanes];
  DEEPPLAN_UNROLL
  for (unsigned plane = 0; plane < kIndexPlanes; ++plane) {
    planes[plane] = load<std::uint32_t>(body + Layout::kIndexAt + plane * kBitPlaneBytes + lane * 4);
  }
  const LaneResiduals<format> residuals(body, lane);
  const std::uint32_t escaped = planes[0] & planes[1] & planes[2];
  LaneExponents exponents = exponents_in_window(planes, header);
  put_escapes(exponents, escaped, escapes, (header >> 8) + sum_before(count_ones(escaped)));
  DEEPPLAN_UNROLL
  for (unsigned step = 0; step < kWeightsPerLane / Layout::kVectorWeights; ++step) {
    Vector vector;
    DEEPPLAN_UNROLL
    for (unsigned i = 0; i < 4; ++i) {
      vector.word[i] = assemble<format>(exponents, residuals, (step * 4 + i) * (Layout::kVectorWeights / 4));
    }
    store_up_to<format>(plain, (step * kLanes + lane) * kVectorBytes, plain_bytes, vector);
  }
}

}  // namespace deepplan::kernels
