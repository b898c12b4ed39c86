// Models whose sizes and costs are drawn, and the load that is put on them.
#pragma once

#include <cstddef>
#include <random>
#include <vector>

#include "serving/scheduler.h"
#include "serving/small_setups.h"

namespace deepplan::testing_setups {

inline constexpr int kInstances = 40;

struct Load {
  int gpus = 4;
  int most_links = 1;
  bool batches = false;
  double objective_ms = 60;
  double mean_gap_ms = 1;
  bool pinned = false;
  bool cancels = false;   // and evictions asked for
  int gpus_per_host = 0;  // that slow one another's cold starts down; 0: none does
};

inline int draw(std::mt19937& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

inline ServingSetup random_setup(const Load& load, std::mt19937& random) {
  std::vector<ServedModel> models;
  for (int i = 0; i < 5; ++i) {
    const double warm_ms = draw(random, 1, 5);
    const double cold_ms = warm_ms + draw(random, 1, 20);
    ServedModel model{static_cast<std::size_t>(draw(random, 10, 40)),
                      {{1, warm_ms, {cold_ms, cold_ms * 0.7, cold_ms * 0.5}}}};
    if (load.batches) {
      for (int size : {2, 4, 8}) {
        const double saved = 0.4 + 0.6 / size;
        model.batches.push_back({size, warm_ms * size * saved, {cold_ms * size * saved, cold_ms * size * saved * 0.6}});
      }
    }
    for (BatchCost& batch : model.batches) {
      for (int others = 1; others < load.gpus_per_host; ++others) {
        std::vector<double> crowded_ms = batch.cold_ms;
        for (double& ms : crowded_ms) ms *= 1 + 0.1 * others * others;
        batch.crowded_ms.push_back(crowded_ms);
      }
    }
    models.push_back(model);
  }
  std::vector<int> instance_model(kInstances);
  for (int& model : instance_model) model = draw(random, 0, 4);
  SchedulerOptions options{load.gpus, 110, load.objective_ms, load.most_links};
  if (load.gpus_per_host > 0) options.gpus_per_host = load.gpus_per_host;
  if (load.pinned) {
    options.pinned.assign(kInstances, false);
    options.pinned[3] = options.pinned[4] = true;
  }
  return setup_of(models, instance_model, options);
}

}  // namespace deepplan::testing_setups
