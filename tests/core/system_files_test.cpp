#include "core/system_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace deepplan {
namespace {

class SystemFiles : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/deepplan-system-files-XXXXXX";
    const int file = mkstemp(name);
    ASSERT_GE(file, 0);
    close(file);
    path_ = name;
  }
  void TearDown() override { unlink(path_.c_str()); }

  void write(const std::string& text) const {
    std::FILE* file = std::fopen(path_.c_str(), "w");
    ASSERT_NE(file, nullptr);
    std::fputs(text.c_str(), file);
    std::fclose(file);
  }

  std::string path_;
};

TEST_F(SystemFiles, ReadsTheNumberAFileBeginsWith) {
  write("-1\n");
  EXPECT_EQ(read_number(path_), -1);
  write("17179869184\nmore");
  EXPECT_EQ(read_number(path_), 17179869184);
  write("max\n");
  EXPECT_EQ(read_number(path_), std::nullopt);
  EXPECT_EQ(read_number(path_ + ".nosuch"), std::nullopt);
}

TEST_F(SystemFiles, ReadsTheFieldOfThatName) {
  write("MemTotal:       131981020 kB\nMemAvailable:   131497452 kB\n");
  EXPECT_EQ(read_field(path_, "MemAvailable:"), 131497452);
  EXPECT_EQ(read_field(path_, "SwapTotal:"), std::nullopt);
  EXPECT_EQ(read_field(path_ + ".nosuch", "MemTotal:"), std::nullopt);
}

TEST_F(SystemFiles, ResolvesLinks) {
  const std::string link = path_ + ".link";
  ASSERT_EQ(symlink(path_.c_str(), link.c_str()), 0);
  EXPECT_EQ(resolve_path(link), resolve_path(path_));
  unlink(link.c_str());
  EXPECT_EQ(resolve_path(link), "");
}

}  // namespace
}  // namespace deepplan
