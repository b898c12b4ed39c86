#include "core/weight_code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/weight_samples.h"

namespace deepplan {
namespace {

class WeightCodeTest : public testing::TestWithParam<WeightFormat> {
 protected:
  static std::size_t weight() { return weight_bytes(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(, WeightCodeTest, every_format(), [](const auto& info) { return format_name(info.param); });

std::vector<char> decoded(const Coded& coded) {
  std::vector<char> plain(coded.piece.plain_bytes, '\x77');
  decode_weights(coded.piece, coded.bytes.data(), plain.data());
  return plain;
}

// Through the code and back; how many bytes it took.
std::size_t round_trip(WeightFormat format, const std::vector<char>& plain) {
  const Coded coded = code(format, plain);
  EXPECT_EQ(coded.piece.coded_bytes % 16, 0);
  EXPECT_TRUE(decoded(coded) == plain) << plain.size() << " bytes";
  return coded.piece.coded_bytes;
}

TEST_P(WeightCodeTest, TakesFewerBytesForNormalWeights) {
  const std::vector<char> plain = normal_weights(GetParam(), 100'000);
  const double ratio = static_cast<double>(round_trip(GetParam(), plain)) / static_cast<double>(plain.size());
  const double bound = GetParam() == WeightFormat::BFloat16 ? 0.71 : GetParam() == WeightFormat::Float16 ? 0.9 : 0.86;
  EXPECT_LT(ratio, bound);
}

TEST_P(WeightCodeTest, IsLosslessForEveryLength) {
  const std::vector<char> plain = normal_weights(GetParam(), 5 * 1024 + 256);
  for (const std::size_t weights :
       {0, 1, 2, 7, 8, 9, 255, 256, 1023, 1024, 1025, 2048, 3 * 1024 + 512, 5 * 1024 + 256}) {
    round_trip(GetParam(), {plain.begin(), plain.begin() + static_cast<std::ptrdiff_t>(weights * weight())});
  }
}

TEST_P(WeightCodeTest, IsLosslessForBytesThatAreNoWeights) {
  round_trip(GetParam(), random_bytes(40'000 * weight()));
  round_trip(GetParam(), std::vector<char>(10'000 * weight(), '\0'));
  round_trip(GetParam(), std::vector<char>(10'000 * weight(), '\xff'));
}

TEST_P(WeightCodeTest, IsLosslessForEveryBitPattern) {
  std::vector<char> plain;
  for (std::uint32_t high = 0; high <= 0xffff; ++high) {
    const std::uint32_t word = weight() == 2 ? high : high << 16 | (high * 40503U & 0xffffU);
    const char* const bytes = reinterpret_cast<const char*>(&word);
    plain.insert(plain.end(), bytes, bytes + weight());
  }
  round_trip(GetParam(), plain);  // in order: blocks of one exponent, denormals, infinities and NaNs among them
  std::vector<char> mixed(plain.size());
  for (std::size_t i = 0; i < 0x10000; ++i) {
    std::memcpy(&mixed[i * weight()], &plain[(i * 40503U & 0xffffU) * weight()], weight());
  }
  round_trip(GetParam(), mixed);
}

TEST_P(WeightCodeTest, FollowsTheScaleOfEachBlock) {
  // Tensors of different scales in one range, as a plan's group has them: each block finds its own window.
  const std::vector<char> plain = normal_weights(GetParam(), 64 * 1024, {0.02F, 1.0F, 0.3F}, 4096);
  const double ratio = static_cast<double>(round_trip(GetParam(), plain)) / static_cast<double>(plain.size());
  EXPECT_LT(ratio, GetParam() == WeightFormat::BFloat16 ? 0.72 : 0.9);
  round_trip(GetParam(), normal_weights(GetParam(), 10'000, {1e-30F, 1e3F, 1e-3F}, 1));
}

TEST_P(WeightCodeTest, TakesTheLargestPieceAndNoMore) {
  std::vector<char> plain = random_bytes(kMostPieceBytes);
  EXPECT_LE(round_trip(GetParam(), plain), most_coded_bytes(GetParam(), plain.size()));
  plain.resize(plain.size() + weight());
  EXPECT_THROW(code(GetParam(), plain), InvalidArgument);
}

TEST_P(WeightCodeTest, RefusesSizesThatCannotBe) {
  const std::vector<char> plain = normal_weights(GetParam(), 3000);
  EXPECT_THROW(code(GetParam(), {plain.begin(), plain.end() - 1}), InvalidArgument);
  std::vector<char> room(most_coded_bytes(GetParam(), plain.size()) - 1);
  EXPECT_THROW(encode_weights(GetParam(), plain, room), InvalidArgument);

  const CodedPiece good = code(GetParam(), plain).piece;
  check_piece(good);
  for (const std::size_t coded_bytes : {std::size_t{0}, good.coded_bytes / 2, good.coded_bytes * 2}) {
    EXPECT_THROW(check_piece({GetParam(), good.plain_bytes, coded_bytes}), InvalidArgument) << coded_bytes;
  }
  EXPECT_THROW(check_piece({GetParam(), good.plain_bytes + 1, good.coded_bytes}), InvalidArgument);
  EXPECT_THROW(check_piece({GetParam(), std::numeric_limits<std::size_t>::max() - 3, good.coded_bytes}),
               InvalidArgument);
}

TEST_P(WeightCodeTest, RefusesDamagedBytes) {
  const Coded good = code(GetParam(), normal_weights(GetParam(), 4 * 1024));
  const PieceLayout layout = piece_layout(GetParam(), good.piece.plain_bytes);
  Coded truncated = good;
  truncated.piece.coded_bytes = layout.escapes_at;
  truncated.bytes.resize(layout.escapes_at);
  EXPECT_THROW(decoded(truncated), InvalidArgument);

  Coded far = good;
  std::memset(far.bytes.data() + layout.headers_at, 0xff, 4);
  EXPECT_THROW(decoded(far), InvalidArgument);

  Coded full = good;  // every weight an escape
  std::memset(full.bytes.data(), 0xff, layout.headers_at);
  EXPECT_THROW(decoded(full), InvalidArgument);
}

TEST_P(WeightCodeTest, StaysInsideItsRangesWhateverTheBytes) {
  const Coded good = code(GetParam(), normal_weights(GetParam(), 4 * 1024 + 100));
  std::mt19937 generator(9);
  for (int round = 0; round < 300; ++round) {
    Coded damaged = good;
    for (int i = 0; i < 20; ++i) damaged.bytes[generator() % damaged.bytes.size()] = static_cast<char>(generator());
    try {
      decoded(damaged);  // the address sanitizer judges
    } catch (const InvalidArgument&) {
    }
  }
}

TEST_P(WeightCodeTest, IsDeterministic) {
  const std::vector<char> plain = normal_weights(GetParam(), 3000);
  EXPECT_TRUE(code(GetParam(), plain).bytes == code(GetParam(), plain).bytes);
}

}  // namespace
}  // namespace deepplan
