#include "core/device_id.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace deepplan {
namespace {

TEST(DeviceId, ReadsWhatItWrites) {
  for (const DeviceId id : {DeviceId{Backend::Host, 0}, DeviceId{Backend::Cuda, 12}}) {
    EXPECT_EQ(parse_device_id(to_string(id)), id);
  }
  EXPECT_EQ(to_string(DeviceId{Backend::Cuda, 1}), "cuda:1");
}

TEST(DeviceId, RefusesAnythingElse) {
  for (const char* text : {"", "cuda", "cuda:", "cuda:-1", "cuda:1x", "tpu:0", "host:99999999999"}) {
    EXPECT_THROW(parse_device_id(text), InvalidArgument) << text;
  }
}

}  // namespace
}  // namespace deepplan
