// What a loader decodes on the way, and what it promotes afterwards.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>

#include "core/error.h"
#include "runtime/loader_fixture.h"

namespace deepplan {
namespace {

class LoaderCodingTest : public LoaderTest {};
INSTANTIATE_TEST_SUITE_P(, LoaderCodingTest, every_backend(), backend_name);

TEST_P(LoaderCodingTest, PromotesBehindAColdStart) {
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
  stream->wait(loader.require(0));
  stream->record(*cold);
  const std::shared_ptr<Event> promoted = loader.promote(memory->data(), cold);
  EXPECT_NE(promoted, cold);
  const Extent all{0, weights.layout().resident_bytes};
  EXPECT_EQ(read_behind(links->target(), *stream, promoted.get(), memory->data(), all),
            bytes_of(weights.begin(), all.bytes));
}

TEST_P(LoaderCodingTest, HasNothingToPromoteWhereAllIsLoaded) {
  const auto links = open_links(1);
  const TwoGroups two;
  Loader loader(*links, two.weights, two.plan);
  const std::shared_ptr<Event> cold = links->target().create_event();
  EXPECT_EQ(loader.promote(nullptr, cold), cold);
}

TEST_P(LoaderCodingTest, DecodesCodedGroupsOfRandomPlansOverAnyLinks) {
  use_fast_links();
  need_decoding();
  if (IsSkipped() || HasFatalFailure()) return;
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
        for (int group = 0; group < loader.group_count(); ++group) reader->wait(loader.require(group));
        for (std::size_t tensor = 0; tensor < plain.size(); ++tensor) {
          const Extent extent{weights.layout().tensor_offset[tensor], plain[tensor].size()};
          if (extent.offset >= weights.layout().loaded_bytes || extent.bytes == 0) continue;
          ASSERT_EQ(read_behind(links->target(), *reader, nullptr, memory->data(), extent), plain[tensor]);
        }
      }
    }
  }
}

TEST_P(LoaderCodingTest, ACodedGroupIsReadyWhenItIsDecoded) {
  use_slow_links();
  need_decoding();
  if (IsSkipped() || HasFatalFailure()) return;
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

TEST_P(LoaderCodingTest, PromotesNothingOverMemoryInUse) {
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
