#include "core/trace.h"

#include <gtest/gtest.h>

namespace deepplan {
namespace {

TEST(Trace, RecordsSpansAsTheyEnd) {
  Trace trace;
  {
    const ScopedSpan outer(&trace, "step 1", "execute");
    const ScopedSpan inner(&trace, "wait", "execute");
  }
  ASSERT_EQ(trace.spans().size(), 2);
  EXPECT_EQ(trace.spans()[0].name, "wait");
  EXPECT_EQ(trace.spans()[1].lane, "execute");
  EXPECT_LE(trace.spans()[1].start_ns, trace.spans()[0].start_ns);
  EXPECT_GE(trace.spans()[1].end_ns, trace.spans()[0].end_ns);
  EXPECT_EQ(trace.take().size(), 2);
  EXPECT_TRUE(trace.spans().empty());
}

TEST(Trace, RecordsNothingWhenOff) { const ScopedSpan span(nullptr, "step", "lane"); }

TEST(Trace, CanBeCleared) {
  Trace trace;
  trace.add({"a", "b", 1, 2});
  trace.clear();
  EXPECT_TRUE(trace.spans().empty());
}

}  // namespace
}  // namespace deepplan
