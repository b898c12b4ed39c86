#include "core/decode_rate.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "core/error.h"
#include "core/pinned_arena.h"

namespace deepplan {
namespace {

// Only the high half of a weight matters for its coding: the sign, the exponent and a few bits of the mantissa are the
// same in bfloat16 and float32, and close enough in float16 for a rate.
std::vector<char> weights_around_zero(WeightFormat format, std::size_t bytes) {
  std::mt19937 random(1);
  std::normal_distribution<float> draw(0.0F, 0.02F);
  std::vector<char> weights(bytes);
  for (std::size_t at = 0; at + weight_bytes(format) <= bytes; at += weight_bytes(format)) {
    const float value = draw(random);
    char word[sizeof value];
    std::memcpy(word, &value, sizeof value);
    std::memcpy(weights.data() + at, word + (sizeof value - weight_bytes(format)), weight_bytes(format));
  }
  return weights;
}

}  // namespace

double measure_decode_gbps(Device& device, WeightFormat format, std::size_t bytes, int repeats) {
  if (bytes < weight_bytes(format) || repeats < 1) {
    throw InvalidArgument("measuring " + std::to_string(repeats) + " times " + std::to_string(bytes) +
                          " bytes of weights: both must be at least 1");
  }
  const std::vector<char> weights = weights_around_zero(format, bytes);
  const PinnedBlock coded = process_arena().allocate(most_coded_bytes(format, bytes));
  const CodedPiece piece{format, bytes, encode_weights(format, weights, {coded.data(), coded.size_bytes()})};
  const auto source = device.allocate(piece.coded_bytes), target = device.allocate(bytes);
  const auto stream = device.create_stream();
  const auto start = device.create_event(EventKind::Timed), end = device.create_event(EventKind::Timed);
  device.copy_from_host(source->data(), coded.data(), piece.coded_bytes, *stream);
  std::vector<double> gbps;
  for (int repeat = -1; repeat < repeats; ++repeat) {
    stream->record(*start);
    device.decode(target->data(), source->data(), piece, *stream);
    stream->record(*end);
    stream->synchronize();
    if (repeat >= 0) gbps.push_back(static_cast<double>(bytes) / (end->elapsed_ms_since(*start) * 1e6));
  }
  const auto middle = gbps.begin() + repeats / 2;
  std::nth_element(gbps.begin(), middle, gbps.end());
  return *middle;
}

}  // namespace deepplan
