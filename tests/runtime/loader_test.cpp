#include "runtime/loader.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>

#include "core/error.h"
#include "runtime/loader_fixture.h"

namespace deepplan {
namespace {

INSTANTIATE_TEST_SUITE_P(, LoaderTest, every_backend(), backend_name);

TEST_P(LoaderTest, BringsEveryGroupOfRandomPlansAndOfOthersOverAnyLinks) {
  use_fast_links();
  std::mt19937 random(9);
  for (const int link_count : {1, 2, 4}) {
    if (link_count > device_count(GetParam())) continue;
    const auto links = open_links(link_count);
    const auto reader = links->target().create_stream();
    for (int round = 0; round < 8; ++round) {
      const ModelWeights model = random_weights(random, 1 + random() % 25, 200000);
      const ExecutionPlan plan = random_plan(random, model, link_count);
      validate(plan, model, link_count);
      HostWeights weights(process_arena(), lay_out(model, plan));
      std::memset(weights.begin(), 0, weights.layout().total_bytes);
      write_pattern(weights);
      const std::size_t bytes = weights.layout().loaded_bytes;
      const auto memory = links->target().allocate(bytes);
      for (const ExecutionPlan& used : {plan, regrouped(random, plan, link_count)}) {
        const std::vector<Extent> groups = lay_out(model, used).groups;
        Loader loader(*links, weights, groups, used.route);
        ASSERT_EQ(loader.group_count(), std::ssize(used.route));
        for (int again = 0; again < 3; ++again) {
          fill_now(links->target(), memory->data(), 0xff, bytes);
          loader.begin(memory->data());
          for (int group = 0; group < loader.group_count(); ++group) {
            loader.issue(random() % 3);
            const Extent& extent = groups[static_cast<std::size_t>(group)];
            const Event& ready = loader.require(group);
            ASSERT_EQ(read_behind(links->target(), *reader, &ready, memory->data(), extent),
                      bytes_of(weights.begin() + extent.offset, extent.bytes));
          }
          loader.finish();
          loader.synchronize();
          ASSERT_EQ(loader.issued_count(), loader.piece_count());
          ASSERT_EQ(read_back(links->target(), memory->data(), bytes), bytes_of(weights.begin(), bytes));
        }
      }
    }
  }
}

TEST_P(LoaderTest, SeesTheFillBytesWhenAWaitIsDropped) {
  DEEPPLAN_SKIP_DELIBERATE_RACE();
  use_slow_links();
  const TwoGroups two;
  const auto links = open_links(1);
  const auto memory = links->target().allocate(32 * kMiB);
  fill_now(links->target(), memory->data(), 0xff, 32 * kMiB);
  Loader loader(*links, two.weights, two.plan);
  const auto reader = links->target().create_stream();
  loader.begin(memory->data());
  loader.finish();
  const Extent tail{32 * kMiB - 4096, 4096};
  EXPECT_EQ(read_behind(links->target(), *reader, nullptr, memory->data(), tail), std::vector<char>(4096, '\xff'));
  EXPECT_EQ(read_behind(links->target(), *reader, &loader.require(1), memory->data(), tail),
            bytes_of(two.weights.begin() + tail.offset, tail.bytes));
}

TEST_P(LoaderTest, DoesNotWriteBeforeTheLastReaderIsDone) {
  for (const int link_count : {1, 2}) {
    if (link_count > device_count(GetParam())) continue;
    use_slow_links();
    TwoGroups two;
    two.plan.route = {0, link_count - 1};
    const auto links = open_links(link_count, kMiB);
    Device& target = links->target();
    const auto memory = target.allocate(32 * kMiB);
    fill_now(target, memory->data(), 0x11, 32 * kMiB);
    const PinnedBlock seen = process_arena().allocate(32 * kMiB);
    const auto reader = target.create_stream();
    const std::shared_ptr<Event> read = target.create_event();
    target.copy_to_host(seen.data(), memory->data(), 32 * kMiB, *reader);
    reader->record(*read);
    Loader loader(*links, two.weights, two.plan);
    loader.begin(memory->data(), std::vector<std::shared_ptr<Event>>{nullptr, read});
    loader.finish();
    loader.synchronize();
    EXPECT_TRUE(read->query());
    EXPECT_EQ(bytes_of(seen.data(), 32 * kMiB), std::vector<char>(32 * kMiB, '\x11'));
    EXPECT_EQ(read_back(target, memory->data(), 32 * kMiB), bytes_of(two.weights.begin(), 32 * kMiB));
  }
}

TEST_P(LoaderTest, IssuesOnlyWhatIsAskedFor) {
  use_fast_links();
  const TwoGroups two;
  const auto links = open_links(1);
  const auto memory = links->target().allocate(32 * kMiB);
  fill_now(links->target(), memory->data(), 0xff, 32 * kMiB);
  Loader loader(*links, two.weights, two.plan);
  loader.begin(memory->data());
  EXPECT_EQ(loader.issued_count(), 0);
  EXPECT_TRUE(loader.issue(0));
  loader.require(0);
  EXPECT_EQ(loader.issued_count(), 1);
  loader.synchronize();
  EXPECT_EQ(read_back(links->target(), memory->data(), 16 * kMiB), two.group(0));
  EXPECT_EQ(read_back(links->target(), memory->data() + 16 * kMiB, 16 * kMiB), std::vector<char>(16 * kMiB, '\xff'));
  EXPECT_FALSE(loader.issue(5));
  EXPECT_FALSE(loader.issue(1));
  loader.begin(memory->data());  // drops nothing, starts anew
  EXPECT_EQ(loader.issued_count(), 0);
}

TEST_P(LoaderTest, TimesGroupsOnTheTargetsClock) {
  use_slow_links();
  for (const int link_count : {1, 2}) {
    if (link_count > device_count(GetParam())) continue;
    TwoGroups two;
    two.plan.route = {0, link_count - 1};
    const auto links = open_links(link_count, kMiB);
    const auto memory = links->target().allocate(32 * kMiB);
    Loader loader(*links, two.weights, two.plan);
    const auto reference = links->target().create_event(EventKind::Timed);
    const auto stream = links->target().create_stream();
    loader.begin(memory->data());
    loader.finish();
    EXPECT_THROW(loader.group_times_ms(*reference), InvalidArgument);
    loader.synchronize();
    loader.set_timed(true);
    stream->record(*reference);
    stream->synchronize();
    loader.begin(memory->data());
    EXPECT_THROW(loader.group_times_ms(*reference), InvalidArgument);
    loader.finish();
    const std::vector<GroupTimes> times = loader.group_times_ms(*reference);
    ASSERT_EQ(times.size(), 2);
    for (const GroupTimes& group : times) {
      EXPECT_GE(group.start_ms, 0);
      EXPECT_GT(group.end_ms, group.start_ms);
    }
    if (link_count == 1) {
      EXPECT_GE(times[1].start_ms, times[0].end_ms - 0.01);
    } else {
      EXPECT_LT(times[1].start_ms, times[0].end_ms);
    }
  }
}

TEST_P(LoaderTest, RefusesMisuse) {
  const TwoGroups two;
  const auto links = open_links(1);
  Loader loader(*links, two.weights, two.plan);
  EXPECT_THROW(loader.require(0), InvalidArgument);
  EXPECT_THROW(loader.issue(1), InvalidArgument);
  EXPECT_THROW(loader.begin(nullptr), InvalidArgument);
  ExecutionPlan plan = two.plan;
  plan.route = {0, 1};
  EXPECT_THROW(Loader(*links, two.weights, plan), InvalidArgument);
  plan.route = {0};
  EXPECT_THROW(Loader(*links, two.weights, plan), InvalidArgument);
  const auto memory = links->target().allocate(32 * kMiB);
  loader.begin(memory->data());
  EXPECT_THROW(loader.require(2), InvalidArgument);
  EXPECT_THROW(loader.require(-1), InvalidArgument);
}

TEST_P(LoaderTest, LoadsNothingForAModelReadInPlace) {
  const ModelWeights model{.tensor_bytes = {1000}, .layer_tensors = {{0}}};
  const ExecutionPlan plan{.placement = {Placement::DirectHostAccess}, .group = {-1}, .route = {}};
  const HostWeights weights(process_arena(), lay_out(model, plan));
  const auto links = open_links(1);
  Loader loader(*links, weights, plan);
  loader.begin(nullptr);
  EXPECT_FALSE(loader.issue(1));
  loader.finish();
  loader.synchronize();
  EXPECT_EQ(loader.piece_count(), 0);
}

}  // namespace
}  // namespace deepplan
