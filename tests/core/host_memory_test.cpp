#include "core/host_memory.h"

#include <gtest/gtest.h>

namespace deepplan {
namespace {

TEST(HostMemory, IsMoreThanNothing) {
  EXPECT_GT(available_host_memory_bytes(), std::size_t{1} << 20);
  EXPECT_LT(available_host_memory_bytes(), std::size_t{1} << 50);
}

}  // namespace
}  // namespace deepplan
