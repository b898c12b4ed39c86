#include "runtime/loader.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>

#include "core/error.h"
#include "core/every_backend.h"
#include "runtime/random_model.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

class LoaderTest : public EveryBackend {
 protected:
  std::unique_ptr<Links> open_links(int count, std::size_t slot_bytes = 32 << 10) {
    std::vector<std::shared_ptr<Device>> helpers;
    for (int index = 1; index < count; ++index) helpers.push_back(open(index));
    return std::make_unique<Links>(open(), helpers, LinksOptions{.slots = 3, .slot_bytes = slot_bytes});
  }

  // The bytes of one extent as they are right after waiting for an event on another stream; null waits for nothing.
  static std::vector<char> read_behind(Device& device, Stream& stream, const Event* ready, const char* base,
                                       const Extent& extent) {
    const PinnedBlock landing = process_arena().allocate(extent.bytes);
    if (ready != nullptr) stream.wait(*ready);
    device.copy_to_host(landing.data(), base + extent.offset, extent.bytes, stream);
    stream.synchronize();
    return bytes_of(landing.data(), extent.bytes);
  }
};
INSTANTIATE_TEST_SUITE_P(, LoaderTest, every_backend(), backend_name);

// Two groups of 16 MiB each over one link.
struct TwoGroups {
  ModelWeights model{.tensor_bytes = {16 * kMiB, 16 * kMiB}, .layer_tensors = {{0}, {1}}};
  ExecutionPlan plan{.placement = {Placement::Load, Placement::Load}, .group = {0, 1}, .route = {0, 0}};
  HostWeights weights{process_arena(), lay_out(model, plan)};
  TwoGroups() { write_pattern(weights); }
  std::vector<char> group(std::size_t index) const {
    const Extent& extent = weights.layout().groups[index];
    return bytes_of(weights.begin() + extent.offset, extent.bytes);
  }
};

TEST_P(LoaderTest, BringsEveryGroupOfRandomPlansOverAnyLinks) {
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
      Loader loader(*links, weights, plan);
      for (int again = 0; again < 3; ++again) {
        fill_now(links->target(), memory->data(), 0xff, bytes);
        loader.begin(memory->data());
        for (int group = 0; group < loader.group_count(); ++group) {
          loader.issue(random() % 3);
          const Extent& extent = weights.layout().groups[static_cast<std::size_t>(group)];
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

TEST_P(LoaderTest, PromotesBehindAColdStart) {
  use_slow_links();
  const auto links = open_links(1);
  const ModelWeights model{.tensor_bytes = {kMiB, 9 * kMiB, 512}, .layer_tensors = {{0}, {1}, {2}}};
  const ExecutionPlan plan{.placement = {Placement::Load, Placement::DirectHostAccess, Placement::DirectHostAccess},
                           .group = {0, -1, -1},
                           .route = {0}};
  const HostWeights weights(process_arena(), lay_out(model, plan, {false, true, false}));
  write_pattern(weights);
  ASSERT_EQ(weights.layout().resident_bytes, 10 * kMiB);
  Loader loader(*links, weights, plan);
  const auto memory = links->target().allocate(10 * kMiB);
  const auto stream = links->target().create_stream();
  fill_now(links->target(), memory->data(), 0xff, memory->size_bytes());
  loader.begin(memory->data());
  loader.finish();
  const std::shared_ptr<Event> cold = links->target().create_event();
  loader.join(*stream);
  stream->record(*cold);
  const std::shared_ptr<Event> promoted = loader.promote(memory->data(), cold);
  EXPECT_NE(promoted, cold);
  const Extent all{0, weights.layout().resident_bytes};
  EXPECT_EQ(read_behind(links->target(), *stream, promoted.get(), memory->data(), all),
            bytes_of(weights.begin(), all.bytes));
}

TEST_P(LoaderTest, HasNothingToPromoteWhereAllIsLoaded) {
  const auto links = open_links(1);
  const TwoGroups two;
  Loader loader(*links, two.weights, two.plan);
  const std::shared_ptr<Event> cold = links->target().create_event();
  EXPECT_EQ(loader.promote(nullptr, cold), cold);
}

TEST_P(LoaderTest, JoinsEverythingThatWasIssued) {
  use_slow_links();
  const auto links = open_links(std::min(2, device_count(GetParam())));
  TwoGroups two;
  two.plan.route = {0, links->count() - 1};
  Loader loader(*links, two.weights, two.plan);
  const auto memory = links->target().allocate(32 * kMiB);
  fill_now(links->target(), memory->data(), 0xff, memory->size_bytes());
  const auto stream = links->target().create_stream();
  loader.begin(memory->data());
  loader.finish();
  loader.join(*stream);
  for (std::size_t group = 0; group < 2; ++group) {
    const Extent& extent = two.weights.layout().groups[group];
    EXPECT_EQ(read_behind(links->target(), *stream, nullptr, memory->data(), extent), two.group(group));
  }
}

TEST_P(LoaderTest, DecodesCodedGroupsOfRandomPlansOverAnyLinks) {
  use_fast_links();
  if (!open()->can_decode()) GTEST_SKIP() << "built without kernels";
  std::mt19937 random(19);
  for (const int link_count : {1, 2, 4}) {
    if (link_count > device_count(GetParam())) continue;
    const auto links = open_links(link_count);
    const auto reader = links->target().create_stream();
    for (int round = 0; round < 8; ++round) {
      const ModelWeights model = random_weights(random, 1 + random() % 25, 200000);
      const ExecutionPlan plan = random_plan(random, model, link_count);
      HostWeights weights(process_arena(), lay_out(model, plan));
      round % 3 == 0 ? write_pattern(weights) : write_weights(weights, static_cast<unsigned>(round));
      const auto plain = read_all(weights);
      weights.code(random_codings(random, plan.route.size()));
      Loader loader(*links, weights, plan);
      const auto memory = links->target().allocate(weights.layout().loaded_bytes);
      for (int repeat = 0; repeat < 2; ++repeat) {
        fill_now(links->target(), memory->data(), 0xff, memory->size_bytes());
        loader.begin(memory->data());
        loader.finish();
        loader.join(*reader);
        for (std::size_t tensor = 0; tensor < plain.size(); ++tensor) {
          const Extent extent{weights.layout().tensor_offset[tensor], plain[tensor].size()};
          if (extent.offset >= weights.layout().loaded_bytes || extent.bytes == 0) continue;
          ASSERT_EQ(read_behind(links->target(), *reader, nullptr, memory->data(), extent), plain[tensor]);
        }
      }
    }
  }
}

TEST_P(LoaderTest, ACodedGroupIsReadyWhenItIsDecoded) {
  use_slow_links();
  if (!open()->can_decode()) GTEST_SKIP() << "built without kernels";
  const auto links = open_links(1);
  TwoGroups two;
  write_weights(two.weights);
  const auto plain = read_all(two.weights);
  two.weights.code({GroupCoding{WeightFormat::BFloat16, 3 * kMiB}, GroupCoding{WeightFormat::BFloat16, 5 * kMiB}});
  EXPECT_LT(two.weights.crossing_bytes(), 24 * kMiB);
  Loader loader(*links, two.weights, two.plan);
  loader.set_timed(true);
  const auto memory = links->target().allocate(32 * kMiB);
  fill_now(links->target(), memory->data(), 0xff, memory->size_bytes());
  const auto stream = links->target().create_stream();
  const auto reference = links->target().create_event(EventKind::Timed);
  stream->record(*reference);
  loader.begin(memory->data());
  for (int group = 0; group < 2; ++group) {
    const Extent& extent = two.weights.layout().groups[static_cast<std::size_t>(group)];
    EXPECT_EQ(read_behind(links->target(), *stream, &loader.require(group), memory->data(), extent),
              plain[static_cast<std::size_t>(group)]);
  }
  stream->synchronize();
  const std::vector<GroupTimes> times = loader.group_times_ms(*reference);
  EXPECT_GT(times[0].end_ms, times[0].start_ms);
  EXPECT_GT(times[1].end_ms, times[0].end_ms);
}

TEST_P(LoaderTest, PromotesNothingOverMemoryInUse) {
  use_slow_links();
  const auto links = open_links(1);
  const ModelWeights model{.tensor_bytes = {kMiB}, .layer_tensors = {{0}}};
  const ExecutionPlan plan{.placement = {Placement::DirectHostAccess}, .group = {-1}, .route = {}};
  const HostWeights weights(process_arena(), lay_out(model, plan, {true}));
  const auto memory = links->target().allocate(kMiB), other = links->target().allocate(16 * kMiB);
  Loader loader(*links, weights, plan);
  const PinnedBlock source = pinned_pattern(16 * kMiB, 1);
  const auto user = links->target().create_stream();
  const std::shared_ptr<Event> used = links->target().create_event(), cold = links->target().create_event();
  links->target().copy_from_host(other->data(), source.data(), 16 * kMiB, *user);
  user->record(*used);
  loader.begin(memory->data(), std::array{used});
  const std::shared_ptr<Event> promoted = loader.promote(memory->data(), cold, std::array{used});
  promoted->synchronize();
  EXPECT_TRUE(used->query());
}

}  // namespace
}  // namespace deepplan
