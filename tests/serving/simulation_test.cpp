#include "serving/simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/error.h"
#include "serving/small_setups.h"

namespace deepplan {
namespace {

using testing_setups::setup_of;
using testing_setups::simple_model;

TEST(ServingSimulation, GivesLatenciesOfASmallSchedule) {
  const std::vector<double> arrivals_ms{0, 1, 2, 30};
  const std::vector<std::int32_t> instances{0, 1, 0, 1};
  SchedulerOptions options{.gpus = 1, .gpu_bytes = 100, .objective_ms = 19};
  const auto requests = simulate_serving(setup_of({simple_model(10)}, {0, 0}, options), arrivals_ms, instances);
  EXPECT_EQ(requests.latency_ms[0], 10);
  EXPECT_EQ(requests.latency_ms[1], 19);
  EXPECT_EQ(requests.latency_ms[2], 19);
  EXPECT_EQ(requests.latency_ms[3], 1);
  EXPECT_EQ(requests.cold, (std::vector<std::uint8_t>{1, 1, 0, 0}));
  EXPECT_EQ(requests.counters.cold_starts, 2u);

  options.objective_ms = 18;
  const auto refused = simulate_serving(setup_of({simple_model(10)}, {0, 0}, options), arrivals_ms, instances);
  EXPECT_TRUE(std::isnan(refused.latency_ms[1]));
  EXPECT_EQ(refused.refused, (std::vector<std::uint8_t>{0, 1, 0, 0}));
  EXPECT_EQ(refused.latency_ms[2], 9);
}

// One GPU, run by run: a request begins when the one before it ends; a list, oldest first, is what is resident.
std::vector<double> one_by_one(const ServingSetup& setup, const std::vector<double>& arrivals_ms,
                               const std::vector<std::int32_t>& instances) {
  std::vector<double> latency_ms;
  std::vector<int> resident;
  double free_ms = 0;
  const auto bytes_of = [&](int instance) { return setup.models[setup.instance_model[instance]].device_bytes; };
  for (std::size_t i = 0; i < arrivals_ms.size(); ++i) {
    const int instance = instances[i];
    const BatchCost& cost = setup.models[setup.instance_model[instance]].batches[0];
    const auto found = std::find(resident.begin(), resident.end(), instance);
    const bool cold = found == resident.end();
    const double end_ms = std::max(free_ms, arrivals_ms[i]) + (cold ? cost.cold_ms[0] : cost.warm_ms);
    if (end_ms > arrivals_ms[i] + setup.options.objective_ms) {
      latency_ms.push_back(NAN);
      continue;
    }
    free_ms = end_ms;
    latency_ms.push_back(end_ms - arrivals_ms[i]);
    if (!cold) resident.erase(found);
    resident.push_back(instance);
    std::size_t bytes = 0;
    for (int other : resident) bytes += bytes_of(other);
    for (; bytes > setup.options.gpu_bytes; resident.erase(resident.begin())) bytes -= bytes_of(resident.front());
  }
  return latency_ms;
}

TEST(ServingSimulation, AgreesWithServingOneByOneOnOneGpu) {
  std::mt19937 random(5);
  for (double objective_ms : {15.0, 40.0, std::numeric_limits<double>::infinity()}) {
    const std::vector<ServedModel> models{{30, {{1, 1.0, {6.0}}}}, {50, {{1, 2.0, {11.0}}}}, {10, {{1, 0.5, {3.0}}}}};
    std::vector<int> instance_model;
    for (int i = 0; i < 12; ++i) instance_model.push_back(i % 3);
    const auto setup = setup_of(models, instance_model, {.gpus = 1, .gpu_bytes = 120, .objective_ms = objective_ms});
    std::exponential_distribution<double> gap(1 / 6.0);
    std::vector<double> arrivals_ms;
    std::vector<std::int32_t> instances;
    for (double time_ms = gap(random); arrivals_ms.size() < 5000; time_ms += gap(random)) {
      arrivals_ms.push_back(time_ms);
      instances.push_back(static_cast<std::int32_t>(random() % 12));
    }
    const auto expected = one_by_one(setup, arrivals_ms, instances);
    const auto actual = simulate_serving(setup, arrivals_ms, instances).latency_ms;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(std::isnan(expected[i]), std::isnan(actual[i])) << i;
      if (std::isnan(expected[i])) continue;
      ASSERT_NEAR(expected[i], actual[i], 1e-6) << i;
    }
  }
}

// Loads that begin at these times, each on a GPU of its own, in small steps: what each has done in a step depends on
// how many others there are.
std::vector<double> in_small_steps(const BatchCost& cost, const std::vector<double>& arrivals_ms) {
  constexpr double kStepMs = 1e-3;
  std::vector<double> left(arrivals_ms.size(), 1.0);
  std::vector<double> latency_ms(arrivals_ms.size(), 0.0);
  std::size_t ended = 0;
  for (double now_ms = 0; ended < left.size(); now_ms += kStepMs) {
    std::vector<std::size_t> under_way;
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (arrivals_ms[i] <= now_ms && left[i] > 0) under_way.push_back(i);
    }
    for (std::size_t i : under_way) {
      left[i] -= kStepMs / cold_ms(cost, 1, static_cast<int>(under_way.size()) - 1);
      if (left[i] > 0) continue;
      latency_ms[i] = now_ms + kStepMs - arrivals_ms[i];
      ++ended;
    }
  }
  return latency_ms;
}

TEST(ServingSimulation, LoadsSlowEachOtherWhileBothAreUnderWay) {
  const ServedModel crowded{10, {{1, 1.0, {10.0}, {{20.0}}}}};
  const std::vector<double> arrivals_ms{0, 5};
  const std::vector<std::int32_t> instances{0, 1};
  SchedulerOptions options{.gpus = 2, .gpu_bytes = 100};
  // The first has done half by 5 and needs 10 more beside the second, which has done half by then and is alone again.
  const auto together = simulate_serving(setup_of({crowded}, {0, 0}, options), arrivals_ms, instances);
  EXPECT_DOUBLE_EQ(together.latency_ms[0], 15);
  EXPECT_DOUBLE_EQ(together.latency_ms[1], 15);
  // Whoever is warm, or on another host, slows nobody.
  options.gpus_per_host = 1;
  const auto apart = simulate_serving(setup_of({crowded}, {0, 0}, options), arrivals_ms, instances);
  EXPECT_DOUBLE_EQ(apart.latency_ms[0], 10);
  EXPECT_DOUBLE_EQ(apart.latency_ms[1], 10);
}

TEST(ServingSimulation, LinksThatAreLentSlowTheOthers) {
  // GPU 0 loads over two links; GPU 2 lends its own to nobody, has another one's for itself and is beside two.
  const ServedModel crowded{10, {{1, 1.0, {10.0, 6.0}, {{12.0, 7.0}, {20.0, 8.0}}}}};
  const auto setup = setup_of({crowded}, {0, 0}, {.gpus = 4, .gpu_bytes = 10, .most_links = 2});
  const auto requests = simulate_serving(setup, std::vector<double>{0, 3}, std::vector<std::int32_t>{0, 1});
  ASSERT_EQ(requests.gpu, (std::vector<std::int32_t>{0, 2}));
  EXPECT_DOUBLE_EQ(requests.latency_ms[0], 3 + 0.5 * 8);
  EXPECT_DOUBLE_EQ(requests.latency_ms[1], 4 + 0.5 * 6);  // by half it is alone
}

TEST(ServingSimulation, AgreesWithLoadsInSmallSteps) {
  const BatchCost cost{1, 1.0, {5.0}, {{6.0}, {8.0}, {11.0}}};
  const ServedModel model{10, {cost}};
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    std::vector<double> arrivals_ms;
    std::vector<std::int32_t> instances;
    std::exponential_distribution<double> gap(1 / 3.0);
    for (double time_ms = gap(random); arrivals_ms.size() < 24; time_ms += gap(random)) {
      instances.push_back(static_cast<std::int32_t>(arrivals_ms.size()));
      arrivals_ms.push_back(time_ms);
    }
    // So many GPUs that none has to wait.
    const auto setup = setup_of({model}, std::vector<int>(24, 0), {.gpus = 24, .gpu_bytes = 10});
    const auto expected = in_small_steps(cost, arrivals_ms);
    const auto actual = simulate_serving(setup, arrivals_ms, instances).latency_ms;
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(actual[i], expected[i], 0.02) << round << ", " << i;
  }
}

TEST(ServingSimulation, RefusesArrivalsThatCannotBe) {
  const auto setup = setup_of({simple_model(10)}, {0}, {.gpus = 1, .gpu_bytes = 100});
  const auto refused = [&](const std::vector<double>& arrivals_ms, const std::vector<std::int32_t>& instances) {
    EXPECT_THROW(simulate_serving(setup, arrivals_ms, instances), InvalidArgument);
  };
  refused({0, 1}, {0});
  refused({1, 0}, {0, 0});
  refused({NAN}, {0});
  refused({std::numeric_limits<double>::infinity()}, {0});
  refused({0}, {1});
}

}  // namespace
}  // namespace deepplan
