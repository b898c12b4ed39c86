#include "torch/model_server.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "session_fixture.h"

namespace deepplan {
namespace {

using std::chrono::milliseconds;

// The chain of linears over `rows` rows: another batch size.
std::shared_ptr<const Program> program_of_rows(int64_t rows) {
  Graph graph = chain_of_linears(kLayers);
  graph.inputs[0].shape[0] = rows;
  return std::make_shared<const Program>(std::move(graph), at::kCPU);
}

struct ModelServerTest : SessionTest {
  std::shared_ptr<Target> other_target = std::make_shared<Target>(DeviceId{Backend::Host, 1});
  std::shared_ptr<SharedLinks> other_links = std::make_shared<SharedLinks>(
      other_target, std::vector{open_device({Backend::Host, 0}), open_device({Backend::Host, 2})});
  std::vector<Model> models;
  std::vector<std::unique_ptr<Session>> replicas;

  // Two GPUs, three instances of their own weights, batches of one and two calls; one instance fits a GPU.
  std::vector<ServedInstance> instances() {
    std::vector<ServedInstance> served;
    for (int i = 0; i < 3; ++i) {
      models.push_back(make(each));
      Session& first = *models.back().session;
      const auto replica = [&](int64_t rows, const std::shared_ptr<SharedLinks>& links) {
        replicas.push_back(std::make_unique<Session>(first, program_of_rows(rows), links));
        return replicas.back().get();
      };
      served.push_back(
          {{{1, &first}, {2, replica(4, links)}}, {{1, replica(2, other_links)}, {2, replica(4, other_links)}}});
    }
    return served;
  }

  ServingSetup setup() {
    const ServedModel model{1000, {{1, 1.0, {10.0, 8.0}}, {2, 1.5, {10.5, 8.5}}}};
    return {{model}, {0, 0, 0}, {.gpus = 2, .gpu_bytes = 1000, .most_links = 2}};
  }

  static std::map<std::int64_t, Answer> wait_for(ModelServer& server, std::size_t count) {
    std::map<std::int64_t, Answer> answers;
    while (answers.size() < count) {
      for (Answer& answer : server.wait_answers(milliseconds(100))) answers[answer.ended.request] = answer;
    }
    return answers;
  }
};

TEST_F(ModelServerTest, AnswersAreThoseOfTheInstanceThatWasAsked) {
  std::vector<ServedInstance> served = instances();
  ModelServer server(setup(), served, {{0, 1}, {1, 0}});
  constexpr int kRequests = 200;
  for (int request = 0; request < kRequests; ++request) {
    EXPECT_TRUE(server.submit(request, request * 7 % 3, {x}).accepted);
  }
  std::size_t joined = 0;
  for (auto& [request, answer] : wait_for(server, kRequests)) {
    EXPECT_EQ(answer.ended.error, "");
    ASSERT_EQ(answer.outputs.size(), 1u);
    EXPECT_TRUE(answer.outputs[0].allclose(models[static_cast<std::size_t>(request * 7 % 3)].expected));
    joined += answer.ended.batch_size > 1;
  }
  EXPECT_GT(joined, 0u);
  EXPECT_GT(server.status().counters.evictions, 0u);
}

TEST_F(ModelServerTest, BatchSizesShareTheDeviceCopyOnEveryGpu) {
  const std::vector<ServedInstance> served = instances();
  for (const std::vector<ServedSession>& sessions : served[0]) {
    Session &one = *sessions[0].session, &two = *sessions[1].session;
    one.run({x});
    EXPECT_TRUE(two.is_resident());
    two.run({at::cat({x, x})});
    EXPECT_FALSE(two.last_was_cold());
    one.evict(false);
    EXPECT_FALSE(two.is_resident());
  }
}

TEST_F(ModelServerTest, WhatIsPinnedStaysWhenOthersMakeRoom) {
  std::vector<ServedInstance> served = instances();
  ServingSetup pinning = setup();
  pinning.options.gpu_bytes = 3000;
  pinning.options.pinned = {false, true, false};
  ModelServer server(pinning, served, {{0, 1}, {1, 0}});
  for (int request = 0; request < 3; ++request) server.submit(request, request, {x});
  wait_for(server, 3);
  server.stop();
  for (const int gpu : {0, 1}) served[0][static_cast<std::size_t>(gpu)][0].session->evict_idle();
  const auto is_resident = [&](std::size_t instance) {
    return served[instance][0][0].session->is_resident() || served[instance][1][0].session->is_resident();
  };
  EXPECT_FALSE(is_resident(0));
  EXPECT_TRUE(is_resident(1));
  EXPECT_FALSE(is_resident(2));
}

TEST_F(ModelServerTest, ABadCallFailsByItself) {
  std::vector<ServedInstance> served = instances();
  ModelServer server(setup(), served, {{0, 1}, {1, 0}});
  server.submit(1, 0, {x});
  // Of these, the first two would make up a batch of two calls: each would have got half of the other's results.
  EXPECT_THROW(server.submit(2, 0, {at::ones({4, kFeatures})}), InvalidArgument);
  EXPECT_THROW(server.submit(3, 0, {at::ones({0, kFeatures})}), InvalidArgument);
  EXPECT_THROW(server.submit(4, 0, {x, x}), InvalidArgument);
  EXPECT_THROW(server.submit(5, 9, {x}), InvalidArgument);
  EXPECT_THROW(server.submit(6, -1, {x}), InvalidArgument);
  EXPECT_THROW(server.submit(1, 1, {x}), InvalidArgument) << "the number is in use until its answer is taken";
  server.submit(7, 0, {x});
  for (auto& [request, answer] : wait_for(server, 2)) {
    EXPECT_TRUE(answer.outputs.at(0).allclose(models[0].expected)) << request;
  }
}

// As where a kernel failed: the results cannot be had.
TEST_F(ModelServerTest, AnErrorOfTorchIsToldWithoutItsStack) {
  Graph graph = chain_of_linears(1);
  Step elsewhere = step("aten::empty_like", "", {slot(2)}, {3}, {2});
  elsewhere.keyword_arguments["device"] = {DeviceArgument{"meta"}};
  graph.steps.push_back(elsewhere);
  graph.layers[0].end = 3;
  graph.slot_count = 4;
  graph.outputs = {slot(3)};
  Session session("lost", std::make_shared<const Program>(std::move(graph), at::kCPU), links, arena,
                  load_each({0}, {0}), /*promote=*/true);
  const ServedModel model{1000, {{1, 1.0, {10.0}}}};
  ModelServer server({{model}, {0}, {.gpus = 1, .gpu_bytes = 1000}}, {{{{1, &session}}}}, {{0}});
  server.submit(1, 0, {x});
  const std::string error = wait_for(server, 1)[1].ended.error;
  EXPECT_NE(error.find("an operator failed: Cannot copy out of meta tensor"), std::string::npos) << error;
  EXPECT_EQ(error.find("frame #"), std::string::npos) << error;
}

TEST_F(ModelServerTest, EvictedInstancesComeBack) {
  std::vector<ServedInstance> served = instances();
  ModelServer server(setup(), served, {{0, 1}, {1, 0}});
  for (int i = 0; i < 3; ++i) {
    server.submit(i, 0, {x});
    const Answer answer = wait_for(server, 1)[i];
    EXPECT_TRUE(answer.ended.cold);
    EXPECT_TRUE(answer.outputs.at(0).equal(models[0].expected));
    while (server.status().gpu_of[0] != -1) server.evict(0);
    EXPECT_FALSE(models[0].session->is_resident());
  }
}

TEST_F(SessionTest, AReplicaOnTheSameTargetSharesTheDeviceCopy) {
  const Model model = make(each);
  Session twice(*model.session, program_of_rows(4), links);
  EXPECT_TRUE(model(x).equal(model.expected));
  EXPECT_TRUE(twice.is_resident());
  EXPECT_TRUE(twice.run({at::cat({x, x})})[0].toTensor().allclose(at::cat({model.expected, model.expected})));
  EXPECT_FALSE(twice.last_was_cold());
  EXPECT_TRUE(twice.evict(/*poison=*/true));
  EXPECT_FALSE(model.session->is_resident());
  EXPECT_TRUE(model(x).equal(model.expected));
  EXPECT_TRUE(model.session->last_was_cold());
}

TEST_F(SessionTest, AReplicaOnAnotherTargetHasADeviceCopyOfItsOwn) {
  const Model model = make(each);
  const auto other =
      std::make_shared<SharedLinks>(std::make_shared<Target>(DeviceId{Backend::Host, 1}),
                                    std::vector{open_device({Backend::Host, 0}), open_device({Backend::Host, 2})});
  Session replica(*model.session, program(), other);
  EXPECT_TRUE(replica.run({x})[0].toTensor().equal(model.expected));
  EXPECT_FALSE(model.session->is_resident());
  EXPECT_THROW(model.session->rebind(each), InvalidArgument) << "the host copy is the replica's too";
  EXPECT_THROW(replica.encode(), InvalidArgument);
  Graph fewer = chain_of_linears(kLayers - 1);
  EXPECT_THROW(Session(*model.session, std::make_shared<const Program>(std::move(fewer), at::kCPU), other),
               InvalidArgument);
}

TEST_F(SessionTest, ColdStartsTravelOverTheLinksTheyMayUse) {
  const Model model = make(each);
  for (const std::vector<int>& links : {std::vector{0}, {0, 2}, {0, 1, 2}, {0, 2, 1}, {0}}) {
    model.session->use_links(links);
    model.session->evict(/*poison=*/true);
    EXPECT_TRUE(model(x).equal(model.expected)) << links.size() << " links";
  }
  for (const std::vector<int>& links : {std::vector<int>{}, {1}, {0, 3}, {0, 1, 1}, {0, -1}}) {
    EXPECT_THROW(model.session->use_links(links), InvalidArgument);
  }
}

}  // namespace
}  // namespace deepplan
