#include "core/decode_rate.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

class DecodeRateTest : public EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, DecodeRateTest, every_backend(), backend_name);

TEST_P(DecodeRateTest, IsARateForEveryFormat) {
  need_decoding();
  if (IsSkipped() || HasFatalFailure()) return;
  const auto device = open();
  for (const WeightFormat format : {WeightFormat::BFloat16, WeightFormat::Float16, WeightFormat::Float32}) {
    const double gbps = measure_decode_gbps(*device, format, std::size_t{1} << 20, 3);
    EXPECT_GT(gbps, 0.001);
    EXPECT_LT(gbps, 1e5);
  }
}

TEST_P(DecodeRateTest, NeedsSomethingToMeasure) {
  const auto device = open();
  EXPECT_THROW(measure_decode_gbps(*device, WeightFormat::Float32, 2, 3), InvalidArgument);
  EXPECT_THROW(measure_decode_gbps(*device, WeightFormat::Float32, 1024, 0), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
