// The CUDA decoder's code, run lane by lane without a GPU and compared with the CPU decoder.
#include "kernels/decode_lane.h"

#include <gtest/gtest.h>

#include <utility>

#include "core/weight_samples.h"

namespace deepplan {
namespace {

// Does what the kernel's warps do with a piece.
template <WeightFormat format>
void decode_by_lanes(const CodedPiece& piece, const char* coded, char* plain) {
  using Layout = BlockLayout<format>;
  const PieceLayout layout = piece_layout(format, piece.plain_bytes);
  const kernels::Escapes escapes{coded, static_cast<std::uint32_t>(layout.escapes_at),
                                 static_cast<std::uint32_t>(piece.coded_bytes - layout.escapes_at)};
  for (std::size_t block = 0; block < layout.blocks; ++block) {
    unsigned sum = 0;
    const auto sum_before = [&sum](unsigned value) { return std::exchange(sum, sum + value); };
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const std::size_t at = block * Layout::kBlockBytes;
      kernels::decode_lane<format>(coded + block * Layout::kBodyBytes,
                                   kernels::load<std::uint32_t>(coded + layout.headers_at + block * 4), escapes, lane,
                                   plain + at, piece.plain_bytes - at, sum_before);
    }
  }
}

std::vector<char> decoded(const Coded& coded) {
  std::vector<char> plain(coded.piece.plain_bytes, '\x77');  // no byte more: the address sanitizer sees who writes on
  switch (coded.piece.format) {
    case WeightFormat::BFloat16:
      decode_by_lanes<WeightFormat::BFloat16>(coded.piece, coded.bytes.data(), plain.data());
      break;
    case WeightFormat::Float16:
      decode_by_lanes<WeightFormat::Float16>(coded.piece, coded.bytes.data(), plain.data());
      break;
    case WeightFormat::Float32:
      decode_by_lanes<WeightFormat::Float32>(coded.piece, coded.bytes.data(), plain.data());
      break;
  }
  return plain;
}

class DecodeLaneTest : public testing::TestWithParam<WeightFormat> {};
INSTANTIATE_TEST_SUITE_P(, DecodeLaneTest, every_format(), [](const auto& info) { return format_name(info.param); });

TEST_P(DecodeLaneTest, GivesTheWeightsThatWereCoded) {
  const std::size_t weight = weight_bytes(GetParam());
  for (const std::size_t weights : {0, 1, 3, 7, 8, 9, 1023, 1024, 1025, 2048 + 5, 40 * 1024}) {
    const std::vector<char> plain = normal_weights(GetParam(), weights);
    EXPECT_TRUE(decoded(code(GetParam(), plain)) == plain) << weights << " weights";
  }
  // Lanes with no escape, with a few, with more than are loaded at once, with nothing else.
  for (const std::vector<char>& plain :
       {random_bytes(50'000 * weight), std::vector<char>(3000 * weight, '\0'), std::vector<char>(3000 * weight, '\xff'),
        normal_weights(GetParam(), 64 * 1024, {0.02F, 2.0F, 0.001F, 1e-30F}, 5)}) {
    EXPECT_TRUE(decoded(code(GetParam(), plain)) == plain);
  }
}

TEST_P(DecodeLaneTest, StaysInsideItsRangesWhateverTheBytes) {
  const Coded good = code(GetParam(), normal_weights(GetParam(), 4 * 1024 + 100));
  std::mt19937 generator(9);
  for (int round = 0; round < 300; ++round) {
    Coded damaged = good;
    for (int i = 0; i < 20; ++i) damaged.bytes[generator() % damaged.bytes.size()] = static_cast<char>(generator());
    decoded(damaged);
  }
}

}  // namespace
}  // namespace deepplan
