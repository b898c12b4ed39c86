#include "serving/event_file.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

namespace deepplan {
namespace {

using std::chrono::milliseconds;

bool is_readable(const EventFile& file) {
  pollfd asked{file.descriptor(), POLLIN, 0};
  return poll(&asked, 1, 0) == 1;
}

TEST(EventFile, IsReadableWhileItIsSet) {
  EventFile file;
  EXPECT_FALSE(is_readable(file));
  file.clear();
  EXPECT_FALSE(is_readable(file));
  for (int i = 0; i < 3; ++i) file.set();
  EXPECT_TRUE(is_readable(file));
  file.clear();
  EXPECT_FALSE(is_readable(file)) << "however often it was set";
}

TEST(EventFile, IsWaitedForUntilItIsSet) {
  EventFile file;
  file.wait(milliseconds(1));
  EXPECT_FALSE(is_readable(file));
  std::thread setter([&] {
    std::this_thread::sleep_for(milliseconds(20));
    file.set();
  });
  file.wait(milliseconds(60'000));
  EXPECT_TRUE(is_readable(file));
  setter.join();
}

}  // namespace
}  // namespace deepplan
