#include "core/touch_pages.h"

#include <gtest/gtest.h>

#include <vector>

namespace deepplan {
namespace {

TEST(TouchPages, WritesToEveryPageAndNotBeyondTheEnd) {
  constexpr std::size_t kPage = 4096;
  const std::size_t huge = kHugePageBytes;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{5}, kPage + 1, huge, 17 * huge + 3}) {
    std::vector<char> memory(bytes + 1, 1);
    touch_pages(memory.data(), bytes);
    for (std::size_t at = 0; at < bytes; at += kPage) ASSERT_EQ(memory[at], 0) << at << " of " << bytes;
    EXPECT_EQ(memory[bytes], 1);
  }
}

}  // namespace
}  // namespace deepplan
