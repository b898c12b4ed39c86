// How a session lays its weights out, promotes and codes them.
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <numeric>

#include "core/error.h"
#include "core/kept_memory.h"
#include "session_fixture.h"

namespace deepplan {
namespace {

struct SessionWeightsTest : SessionTest {};

TEST_F(SessionWeightsTest, LaysItsWeightsOutAgainForAnotherPlan) {
  const Model model = make(each);
  EXPECT_TRUE(model(x).equal(model.expected));
  const std::size_t all = model.session->layout().loaded_bytes;
  model.session->rebind(load_each({-1, 0, -1, 0}, {1}));
  EXPECT_FALSE(model.session->is_resident());
  EXPECT_EQ(model.session->layout().loaded_bytes, all / 2);
  EXPECT_TRUE(model(x).equal(model.expected));
  EXPECT_THROW(model.session->rebind(load_each({0, 1, 2, 3}, {0, 0, 0, 3})), InvalidArgument);
  EXPECT_TRUE(model(x).equal(model.expected));
}

TEST_F(SessionWeightsTest, ColdStartsOverFewerLinksGoByAPlanOfTheirOwn) {
  const Model model = make(each);
  model.session->plan_for(1, load_each({0, 0, 0, 1}, {0, 0}));
  model.session->plan_for(2, load_each({0, 1, 1, 1}, {1, 0}));
  Session replica(*model.session, program(), links);  // with what was said of fewer links
  replica.use_links({0});
  EXPECT_TRUE(replica.run({x})[0].toTensor().equal(model.expected));
  replica.set_timed(true);
  replica.evict(/*poison=*/true);
  replica.run({x});
  EXPECT_EQ(replica.last_times()->groups.size(), 2u);
  for (const std::vector<int>& used : {std::vector{0}, {0, 2}, {0, 1, 2}, {0, 1}, {0}}) {
    model.session->use_links(used);
    model.session->evict(/*poison=*/true);
    EXPECT_TRUE(model(x).equal(model.expected)) << used.size() << " links";
    EXPECT_TRUE(model(x).equal(model.expected));
  }
  model.session->plan_for(1, load_each({0, 1, 1, 1}, {0, 0}));  // the one in use
  model.session->evict(/*poison=*/true);
  EXPECT_TRUE(model(x).equal(model.expected));
  model.session->set_timed(true);
  for (const auto& [links, groups] : {std::pair{1, 2u}, {2, 2u}, {3, 4u}}) {
    std::vector<int> used(static_cast<std::size_t>(links));
    std::iota(used.begin(), used.end(), 0);
    model.session->use_links(used);
    model.session->evict(/*poison=*/true);
    model(x);
    EXPECT_EQ(model.session->last_times()->groups.size(), groups) << links << " links";
  }
}

TEST_F(SessionWeightsTest, PlansForFewerLinksMustFitTheHostCopy) {
  ExecutionPlan plan = each;
  plan.coded = {true, false, false, false};
  const Model model = make(plan);
  EXPECT_THROW(model.session->plan_for(0, each), InvalidArgument);
  EXPECT_THROW(model.session->plan_for(4, each), InvalidArgument);
  EXPECT_THROW(model.session->plan_for(1, each), InvalidArgument) << "there is but link 0";
  EXPECT_THROW(model.session->plan_for(1, load_each({0, 0, 0, -1}, {0})), InvalidArgument);
  model.session->encode();
  EXPECT_THROW(model.session->plan_for(1, load_each({0, 1, 1, 1}, {0, 0})), InvalidArgument);
  plan.route = {0, 0, 0, 0};
  model.session->plan_for(1, plan);
  model.session->use_links({0});
  model.session->evict(/*poison=*/true);
  EXPECT_TRUE(model(x).equal(model.expected));
}

TEST_F(SessionWeightsTest, AWarmRunReadsPromotedWeightsOnTheTarget) {
  const Model model = make(load_each({-1, 0, -1, 1}, {1, 2}));
  const WeightLayout& layout = model.session->layout();
  EXPECT_EQ(layout.resident_bytes, layout.total_bytes);
  EXPECT_TRUE(model(x).equal(model.expected));
  target->device->synchronize();
  const at::Tensor host = model.session->storage_bytes(0);
  const at::Tensor kept = host.clone();
  host.fill_(0xff);  // whoever still reads it computes NaN
  EXPECT_TRUE(model(x).equal(model.expected));
  model.session->evict(/*poison=*/false);
  EXPECT_FALSE(model(x).equal(model.expected));
  host.copy_(kept);
}

TEST_F(SessionWeightsTest, LargeTablesOfWhichRowsAreGatheredStay) {
  Graph graph = tied_table();
  graph.storage_bytes[0] = std::size_t{9} << 20;
  graph.steps.pop_back();
  graph.layers = {{"embedding", 0, 1, {0}}, {"act", 1, 2, {}}};
  graph.outputs = {slot(2)};
  const auto program = std::make_shared<const Program>(std::move(graph), at::kCPU);
  EXPECT_EQ(program->promotable_storages(), std::vector{false});
  const Session session("table", program, links, arena, load_each({-1, -1}, {}), /*promote=*/true);
  EXPECT_EQ(session.layout().resident_bytes, 0);
}

TEST_F(SessionWeightsTest, PromotesNothingUnlessAsked) {
  const Session session("model", program(), links, arena, load_each({-1, -1, -1, -1}, {}), /*promote=*/false);
  EXPECT_EQ(session.layout().resident_bytes, 0);
}

TEST_F(SessionWeightsTest, CodesItsWeightsWithoutLoss) {
  for (const std::vector<bool>& coded : {std::vector<bool>{true, true, true, true}, {false, true, false, true}}) {
    ExecutionPlan plan = each;
    plan.coded = coded;
    const Model model = make(plan);
    EXPECT_TRUE(model(x).equal(model.expected));
    const at::Tensor plain = model.session->storage_bytes(2).clone();
    model.session->encode();
    EXPECT_FALSE(model.session->is_resident());
    for (int i = 0; i < 3; ++i) {
      model.session->evict(/*poison=*/true);
      EXPECT_TRUE(model(x).equal(model.expected));
      EXPECT_TRUE(model(x).equal(model.expected));
    }
    EXPECT_TRUE(model.session->storage_bytes(2).equal(plain));
    model.session->rebind(each);
    EXPECT_TRUE(model(x).equal(model.expected));
    EXPECT_EQ(model.session->host().crossing_bytes(), model.session->layout().loaded_bytes);
  }
}

TEST_F(SessionWeightsTest, GoesOnWithTheHostCopyOfAnEndedProcess) {
  const int file = memfd_create("weights", MFD_CLOEXEC);
  const auto use = [&](PinnedArena& memory) {
    const auto kept = std::make_shared<KeptMemory>(file);
    memory.use([kept](std::size_t bytes) { return kept->append(bytes); },
               [kept](std::size_t at, std::size_t bytes) { return kept->attach(at, bytes); });
  };
  for (const bool coded : {false, true}) {
    ExecutionPlan plan = each;
    if (coded) plan.coded = {true, false, true, true};
    use(arena);
    const Model model = make(plan);
    model.session->encode();
    PinnedArena later;
    use(later);
    Session session("again", program(), links, later, plan, /*promote=*/true, model.session->host_copy());
    EXPECT_TRUE(session.run({x}).at(0).toTensor().equal(model.expected));
    EXPECT_EQ(session.host().crossing_bytes(), model.session->host().crossing_bytes());
    EXPECT_EQ(session.host().size_bytes(), model.session->host().size_bytes());
  }
  close(file);
}

TEST_F(SessionWeightsTest, LeavesPlainWhatIsReadInPlaceAsWell) {
  const auto program = std::make_shared<const Program>(tied_table(), at::kCPU);
  ExecutionPlan plan = load_each({-1, -1, 0}, {0});
  plan.coded = {true};
  Session session("tied", program, links, arena, plan, /*promote=*/true);
  session.storage_bytes(0).zero_();
  const at::Tensor ids = at::ones({2}, at::kLong);
  session.encode();
  EXPECT_EQ(session.host().crossing_bytes(), session.layout().loaded_bytes);
  EXPECT_EQ(session.run({ids}).size(), 1);
}

}  // namespace
}  // namespace deepplan
