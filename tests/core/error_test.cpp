#include "core/error.h"

#include <gtest/gtest.h>

namespace deepplan {
namespace {

TEST(Error, SaysWhatAndWhere) {
  try {
    throw InvalidArgument("layer 3 is odd");
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "layer 3 is odd");
    EXPECT_EQ(std::string(error.what()),
              "layer 3 is odd (tests/core/error_test.cpp:" + std::to_string(error.where().line()) + ")");
  }
}

TEST(Error, KeepsItsKind) {
  EXPECT_THROW(throw OutOfMemory("x"), OutOfMemory);
  EXPECT_THROW(throw DeviceError("x"), Error);
  EXPECT_THROW(throw InvalidArgument("x"), std::runtime_error);
}

TEST(FormatBytes, PicksTheUnit) {
  EXPECT_EQ(format_bytes(512), "512 bytes");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(std::size_t{24} << 20), "24.0 MiB");
  EXPECT_EQ(format_bytes(std::size_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(format_bytes(std::size_t{5000} << 40), "5000.0 TiB");
}

}  // namespace
}  // namespace deepplan
