#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/weight_code.h"

namespace deepplan {

inline auto every_format() {
  return testing::Values(WeightFormat::BFloat16, WeightFormat::Float16, WeightFormat::Float32);
}

inline std::string format_name(WeightFormat format) {
  return format == WeightFormat::BFloat16 ? "BFloat16" : format == WeightFormat::Float16 ? "Float16" : "Float32";
}

// Appends a value in a format, rounded towards zero; what is too small for the format becomes zero.
inline void append_weight(std::vector<char>& weights, WeightFormat format, float value) {
  std::uint32_t word = std::bit_cast<std::uint32_t>(value);
  if (format == WeightFormat::BFloat16) word >>= 16;
  if (format == WeightFormat::Float16) {
    const std::uint32_t exponent = word >> 23 & 0xff;
    const std::uint32_t kept = exponent < 113 ? 0 : (exponent - 112) << 10 | (word >> 13 & 0x3ff);
    word = word >> 31 << 15 | kept;
  }
  const char* const bytes = reinterpret_cast<const char*>(&word);
  weights.insert(weights.end(), bytes, bytes + weight_bytes(format));
}

// Normally distributed, as trained weights roughly are; a standard deviation for each run of `run` weights.
inline std::vector<char> normal_weights(WeightFormat format, std::size_t count,
                                        const std::vector<float>& deviations = {0.02F}, std::size_t run = 1) {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::vector<char> weights;
  for (std::size_t i = 0; i < count; ++i) {
    append_weight(weights, format, normal(generator) * deviations[i / run % deviations.size()]);
  }
  return weights;
}

inline std::vector<char> random_bytes(std::size_t bytes) {
  std::mt19937 generator(8);
  std::vector<char> random(bytes);
  for (char& byte : random) byte = static_cast<char>(generator());
  return random;
}

struct Coded {
  CodedPiece piece;
  std::vector<char> bytes;  // piece.coded_bytes of them and no more, so that a sanitizer sees who reads on
};

inline Coded code(WeightFormat format, const std::vector<char>& plain) {
  std::vector<char> room(most_coded_bytes(format, plain.size()), '\x55');
  const std::size_t coded_bytes = encode_weights(format, plain, room);
  return {{format, plain.size(), coded_bytes}, {room.begin(), room.begin() + static_cast<std::ptrdiff_t>(coded_bytes)}};
}

}  // namespace deepplan
