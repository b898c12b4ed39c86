#include "core/weight_block.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/weight_planes.h"

namespace deepplan {
namespace {

template <WeightFormat format>
struct Columns {
  using Layout = BlockLayout<format>;
  Column exponent;
  std::array<Column, Layout::kBytePlanes + (Layout::kBitPlanes > 0 ? 1 : 0)> residual;  // lowest byte first
};

template <WeightFormat format>
void split(const char* weights, Columns<format>& columns) {
  using Layout = BlockLayout<format>;
  using Word = typename Layout::Word;
  std::array<Word, kWeightsPerBlock> words;
  std::memcpy(words.data(), weights, sizeof words);
  for (unsigned i = 0; i < kWeightsPerBlock; ++i) {
    columns.exponent[i] = static_cast<std::uint8_t>((words[i] >> Layout::kMantissaBits) & Layout::kExponentMask);
  }
  for (unsigned byte = 0; byte < columns.residual.size(); ++byte) {
    Column& column = columns.residual[byte];
    for (unsigned i = 0; i < kWeightsPerBlock; ++i) {
      const std::uint32_t mantissa = words[i] & ((1U << Layout::kMantissaBits) - 1);
      const std::uint32_t sign = words[i] >> Layout::kSignBit;
      column[i] = static_cast<std::uint8_t>((sign << Layout::kMantissaBits | mantissa) >> (8 * byte));
    }
  }
}

template <WeightFormat format>
void join(const Columns<format>& columns, char* weights) {
  using Layout = BlockLayout<format>;
  using Word = typename Layout::Word;
  std::array<Word, kWeightsPerBlock> words;
  for (unsigned i = 0; i < kWeightsPerBlock; ++i) {
    std::uint32_t residual = 0;
    for (unsigned byte = 0; byte < columns.residual.size(); ++byte) {
      residual |= std::uint32_t{columns.residual[byte][i]} << (8 * byte);
    }
    const std::uint32_t mantissa = residual & ((1U << Layout::kMantissaBits) - 1);
    const std::uint32_t sign = residual >> Layout::kMantissaBits;
    const std::uint32_t exponent = columns.exponent[i] & Layout::kExponentMask;
    words[i] = static_cast<Word>(sign << Layout::kSignBit | exponent << Layout::kMantissaBits | mantissa);
  }
  std::memcpy(weights, words.data(), sizeof words);
}

// The top of the window of 7 neighbouring exponents that holds the most weights.
std::uint8_t choose_base(const Column& exponents) {
  constexpr unsigned kWays = 4;  // equal exponents come in a row: one counter each would wait for itself
  std::array<std::array<std::uint16_t, 256>, kWays> counts{};
  for (unsigned i = 0; i < kWeightsPerBlock; i += kWays) {
    for (unsigned way = 0; way < kWays; ++way) ++counts[way][exponents[i + way]];
  }
  std::array<std::uint16_t, 256> sum;
  for (unsigned e = 0; e < 256; ++e) {
    sum[e] = static_cast<std::uint16_t>(counts[0][e] + counts[1][e] + counts[2][e] + counts[3][e]);
  }
  std::array<std::uint16_t, 256> inside{};
  for (unsigned top = kEscape - 1; top < 256; ++top) {
    std::uint16_t total = 0;
    for (unsigned below = 0; below < kEscape; ++below) total = static_cast<std::uint16_t>(total + sum[top - below]);
    inside[top] = total;
  }
  return static_cast<std::uint8_t>(std::max_element(inside.begin(), inside.end()) - inside.begin());
}

std::uint32_t lane_word(const char* plane, unsigned lane) {
  std::uint32_t word = 0;
  std::memcpy(&word, plane + lane * sizeof word, sizeof word);
  return word;
}

// Calls each(place) for every escape of a block, in their order, until it returns false: then false.
template <typename Each>
bool for_each_escape(const char* index_planes, const Each& each) {
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    std::uint32_t escapes = ~std::uint32_t{0};
    for (unsigned p = 0; p < kIndexPlanes; ++p) escapes &= lane_word(index_planes + p * kBitPlaneBytes, lane);
    for (; escapes != 0; escapes &= escapes - 1) {
      if (!each(lane * kWeightsPerLane + static_cast<unsigned>(std::countr_zero(escapes)))) return false;
    }
  }
  return true;
}

}  // namespace

template <WeightFormat format>
BlockSummary encode_block(const char* weights, char* body, char* escapes) {
  using Layout = BlockLayout<format>;
  constexpr unsigned kVectorWeights = Layout::kVectorWeights;
  Columns<format> columns;
  split<format>(weights, columns);
  for (unsigned byte = 0; byte < Layout::kBytePlanes; ++byte) {
    for_each_vector<kVectorWeights>([&](unsigned weight, unsigned lane, unsigned bit) {
      std::memcpy(body + byte * kWeightsPerBlock + place_in_byte_plane(lane, bit), &columns.residual[byte][weight],
                  kVectorWeights);
    });
  }
  const std::uint8_t base = choose_base(columns.exponent);
  Column exponents;
  to_lanes<kVectorWeights>(columns.exponent, exponents);
  Column indices;
  for (unsigned i = 0; i < kWeightsPerBlock; ++i) {
    indices[i] = std::min(static_cast<std::uint8_t>(base - exponents[i]), static_cast<std::uint8_t>(kEscape));
  }
  for (unsigned p = 0; p < kIndexPlanes; ++p) pack_plane(indices, p, body + Layout::kIndexAt + p * kBitPlaneBytes);
  if constexpr (Layout::kBitPlanes > 0) {
    Column high;
    to_lanes<kVectorWeights>(columns.residual.back(), high);
    for (unsigned p = 0; p < Layout::kBitPlanes; ++p) pack_plane(high, p, body + Layout::kBitsAt + p * kBitPlaneBytes);
  }
  BlockSummary summary{base, 0};
  for_each_escape(body + Layout::kIndexAt, [&](unsigned place) {
    escapes[summary.escapes++] = static_cast<char>(exponents[place]);
    return true;
  });
  return summary;
}

template <WeightFormat format>
bool decode_block(const char* body, std::uint8_t base, std::span<const char> escapes, char* weights) {
  using Layout = BlockLayout<format>;
  constexpr unsigned kVectorWeights = Layout::kVectorWeights;
  Columns<format> columns;
  for (unsigned byte = 0; byte < Layout::kBytePlanes; ++byte) {
    for_each_vector<kVectorWeights>([&](unsigned weight, unsigned lane, unsigned bit) {
      std::memcpy(&columns.residual[byte][weight], body + byte * kWeightsPerBlock + place_in_byte_plane(lane, bit),
                  kVectorWeights);
    });
  }
  Column exponents{};
  for (unsigned p = 0; p < kIndexPlanes; ++p) unpack_plane(body + Layout::kIndexAt + p * kBitPlaneBytes, p, exponents);
  for (std::uint8_t& value : exponents) value = static_cast<std::uint8_t>(base - value);
  std::size_t next = 0;
  const bool complete = for_each_escape(body + Layout::kIndexAt, [&](unsigned place) {
    if (next == escapes.size()) return false;
    exponents[place] = static_cast<std::uint8_t>(escapes[next++]);
    return true;
  });
  if (!complete) return false;
  from_lanes<kVectorWeights>(exponents, columns.exponent);
  if constexpr (Layout::kBitPlanes > 0) {
    Column high{};
    for (unsigned p = 0; p < Layout::kBitPlanes; ++p)
      unpack_plane(body + Layout::kBitsAt + p * kBitPlaneBytes, p, high);
    from_lanes<kVectorWeights>(high, columns.residual.back());
  }
  join<format>(columns, weights);
  return true;
}

template BlockSummary encode_block<WeightFormat::BFloat16>(const char*, char*, char*);
template BlockSummary encode_block<WeightFormat::Float16>(const char*, char*, char*);
template BlockSummary encode_block<WeightFormat::Float32>(const char*, char*, char*);
template bool decode_block<WeightFormat::BFloat16>(const char*, std::uint8_t, std::span<const char>, char*);
template bool decode_block<WeightFormat::Float16>(const char*, std::uint8_t, std::span<const char>, char*);
template bool decode_block<WeightFormat::Float32>(const char*, std::uint8_t, std::span<const char>, char*);

}  // namespace deepplan
