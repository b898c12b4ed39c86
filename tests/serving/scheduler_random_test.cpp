// Random loads, watched by a referee that keeps its own simple account of what is where and who waits.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <queue>
#include <random>
#include <set>

#include "serving/random_setup.h"
#include "serving/scheduler.h"

namespace deepplan {
namespace {

using testing_setups::kInstances;
using testing_setups::Load;
using testing_setups::random_setup;

class Referee {
 public:
  Referee(const Load& load, std::uint32_t seed)
      : load_(load), random_(seed), setup_(random_setup(load, random_)), scheduler_(setup_) {}

  void run(int requests) {
    std::exponential_distribution<double> gap(1 / load_.mean_gap_ms);
    for (int request = 0; request < requests; ++request) {
      const double arrival_ms = now_ms_ + gap(random_);
      finish_until(arrival_ms);
      now_ms_ = arrival_ms;
      submit(request, draw(0, kInstances - 1));
      if (load_.cancels) interfere();
    }
    finish_until(std::numeric_limits<double>::infinity());
    EXPECT_TRUE(waiting_.empty()) << "every accepted request ends";
    EXPECT_EQ(scheduler_.counters().accepted + scheduler_.counters().refused, static_cast<std::uint64_t>(requests));
    EXPECT_EQ(scheduler_.counters().accepted, ended_ + cancelled_);
    EXPECT_EQ(scheduler_.counters().cancelled, cancelled_);
    EXPECT_EQ(scheduler_.counters().cold_starts, cold_starts_);
    EXPECT_EQ(scheduler_.counters().evictions, evictions_);
    EXPECT_GT(cold_starts_, 0u);
  }

  std::uint64_t batched() const { return batched_; }
  std::uint64_t shared_links() const { return shared_links_; }
  std::uint64_t crowded() const { return crowded_; }
  std::uint64_t cancelled() const { return cancelled_; }
  std::uint64_t asked_evictions() const { return asked_evictions_; }

 private:
  struct Waiting {
    int instance;
    int gpu;
    double arrival_ms;
    double predicted_end_ms;
  };

  int draw(int low, int high) { return testing_setups::draw(random_, low, high); }

  void submit(int request, int instance) {
    const Admission admission = scheduler_.submit(request, instance, now_ms_);
    if (!admission.accepted) {
      EXPECT_GT(admission.predicted_end_ms, now_ms_ + load_.objective_ms);
      EXPECT_GT(admission.retry_after_ms, 0);
      return;
    }
    EXPECT_LE(admission.predicted_end_ms, now_ms_ + load_.objective_ms);
    waiting_[request] = {instance, admission.gpu, now_ms_, admission.predicted_end_ms};
    start(admission.gpu);
  }

  // Somebody goes away, and somebody has an instance evicted.
  void interfere() {
    if (!waiting_.empty() && draw(0, 2) == 0) {
      const auto gone = std::next(waiting_.begin(), draw(0, static_cast<int>(waiting_.size()) - 1));
      if (scheduler_.cancel(gone->first, gone->second.instance)) {
        EXPECT_FALSE(scheduler_.cancel(gone->first, gone->second.instance)) << "it is gone";
        waiting_.erase(gone);
        ++cancelled_;
      }
    }
    const int instance = draw(0, kInstances - 1);
    const int gpu = scheduler_.gpu_of(instance);
    if (!scheduler_.evict(instance)) return;
    ASSERT_EQ(resident_[gpu].erase(instance), 1u) << "only what is resident can be evicted";
    for (const auto& [request, waiting] : waiting_) EXPECT_NE(waiting.instance, instance) << "it was counted on";
    EXPECT_EQ(scheduler_.gpu_of(instance), ResidencyLedger::kNowhere);
    ++evictions_;
    ++asked_evictions_;
  }

  void finish_until(double end_ms) {
    while (!ends_.empty() && ends_.top().first <= end_ms) {
      const auto [time_ms, gpu] = ends_.top();
      ends_.pop();
      now_ms_ = time_ms;
      busy_.erase(gpu);
      std::erase_if(link_holder_, [gpu = gpu](const auto& entry) { return entry.second == gpu; });
      for (int idle : scheduler_.finish(gpu, time_ms)) start(idle);
      for (int other = 0; other < load_.gpus; ++other) {
        EXPECT_FALSE(scheduler_.start(other, now_ms_)) << "finish() names every GPU that can go on";
      }
    }
  }

  void start(int gpu) {
    const auto job = scheduler_.start(gpu, now_ms_);
    if (!job) return;
    EXPECT_TRUE(busy_.insert(gpu).second) << "one job at a time";
    check_residency(gpu, *job);
    check_links(gpu, *job);
    check_cost(gpu, *job);
    check_requests(gpu, *job);
    EXPECT_LE(std::ssize(job->requests), job->batch_size);
    batched_ += job->requests.size() > 1;
    ends_.emplace(now_ms_ + job->predicted_ms, gpu);
  }

  std::size_t bytes_of(int instance) const { return setup_.models[setup_.instance_model[instance]].device_bytes; }

  void check_residency(int gpu, const Job& job) {
    std::set<int>& here = resident_[gpu];
    EXPECT_EQ(job.cold, !here.contains(job.instance));
    for (int victim : job.evicted) {
      EXPECT_FALSE(load_.pinned && setup_.options.pinned[victim]);
      EXPECT_EQ(here.erase(victim), 1u) << "only what is resident can be evicted";
      for (const auto& [request, waiting] : waiting_) {
        if (load_.cancels) break;
        EXPECT_FALSE(waiting.instance == victim && request < job.requests[0]) << "it was counted on";
      }
    }
    evictions_ += job.evicted.size();
    cold_starts_ += job.cold;
    if (!job.cold) return;
    here.insert(job.instance);
    for (const auto& [other, instances] : resident_) EXPECT_TRUE(other == gpu || !instances.contains(job.instance));
    std::size_t bytes = 0;
    for (int instance : here) bytes += bytes_of(instance);
    EXPECT_EQ(scheduler_.resident_bytes(gpu), bytes);
    EXPECT_LE(scheduler_.resident_bytes(gpu), setup_.options.gpu_bytes);
  }

  void check_links(int gpu, const Job& job) {
    EXPECT_EQ(job.cold, !job.links.empty());
    if (job.cold) {
      EXPECT_EQ(job.links[0], gpu);
    }
    EXPECT_LE(std::ssize(job.links), load_.most_links);
    for (int link : job.links) {
      EXPECT_EQ(link / load_.most_links, gpu / load_.most_links);
      EXPECT_TRUE(link_holder_.emplace(link, gpu).second) << "a link serves one cold start";
    }
    shared_links_ += job.links.size() > 1;
  }

  // By who else loads on the host when the job begins.
  void check_cost(int gpu, const Job& job) {
    const ServedModel& model = setup_.models[setup_.instance_model[job.instance]];
    const BatchCost& batch = model.padded(job.batch_size);
    if (!job.cold) {
      EXPECT_EQ(job.predicted_ms, batch.warm_ms);
      return;
    }
    const int host = setup_.options.gpus_per_host;
    const auto others = std::count_if(link_holder_.begin(), link_holder_.end(), [&](const auto& entry) {
      return entry.second != gpu && entry.first / host == gpu / host;
    });
    const bool slower = others > 0 && load_.gpus_per_host > 0;
    const double cold_ms = (slower ? batch.crowded_ms.at(others - 1) : batch.cold_ms).at(job.links.size() - 1);
    EXPECT_EQ(job.predicted_ms, cold_ms);
    crowded_ += slower;
  }

  void check_requests(int gpu, const Job& job) {
    const double end_ms = now_ms_ + job.predicted_ms;
    const auto oldest =
        std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& w) { return w.second.gpu == gpu; });
    ASSERT_NE(oldest, waiting_.end());
    // Whoever inherits the place of one that was cancelled overtakes others.
    if (!load_.cancels) {
      ASSERT_EQ(job.requests[0], oldest->first) << "the oldest comes first";
    }
    for (std::int64_t request : job.requests) {
      const auto first = std::find_if(waiting_.begin(), waiting_.end(),
                                      [&](const auto& w) { return w.second.instance == job.instance; });
      ASSERT_TRUE(first != waiting_.end() && first->first == request) << "in order within an instance, and once";
      EXPECT_LE(end_ms, first->second.arrival_ms + load_.objective_ms + 1e-6) << "never late";
      if (!load_.batches) {
        EXPECT_LE(end_ms, first->second.predicted_end_ms + 1e-6);
      }
      waiting_.erase(first);
      ++ended_;
    }
  }

  Load load_;
  std::mt19937 random_;
  ServingSetup setup_;
  Scheduler scheduler_;
  double now_ms_ = 0;
  std::map<std::int64_t, Waiting> waiting_;
  std::map<int, std::set<int>> resident_;
  std::map<int, int> link_holder_;
  std::set<int> busy_;
  std::priority_queue<std::pair<double, int>, std::vector<std::pair<double, int>>, std::greater<>> ends_;
  std::uint64_t ended_ = 0, cold_starts_ = 0, evictions_ = 0, batched_ = 0, shared_links_ = 0;
  std::uint64_t cancelled_ = 0, asked_evictions_ = 0, crowded_ = 0;
};

TEST(RandomLoads, HoldWithOneLinkAndNoBatches) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) Referee({.mean_gap_ms = 2}, seed).run(1500);
}

TEST(RandomLoads, HoldWithPinnedInstances) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) Referee({.mean_gap_ms = 2, .pinned = true}, seed).run(1500);
}

TEST(RandomLoads, HoldWithoutAnObjective) {
  const double never = std::numeric_limits<double>::infinity();
  for (std::uint32_t seed = 0; seed < 10; ++seed) Referee({.batches = true, .objective_ms = never}, seed).run(1000);
}

TEST(RandomLoads, HoldWithBatches) {
  std::uint64_t batched = 0;
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    Referee referee({.gpus = 2, .batches = true, .objective_ms = 100, .mean_gap_ms = 0.5}, seed);
    referee.run(2000);
    batched += referee.batched();
  }
  EXPECT_GT(batched, 0u);
}

TEST(RandomLoads, HoldWhileRequestsAreCancelledAndInstancesEvicted) {
  std::uint64_t cancelled = 0, evicted = 0;
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    Referee referee({.batches = true, .objective_ms = 100, .mean_gap_ms = 0.7, .cancels = true}, seed);
    referee.run(2000);
    cancelled += referee.cancelled();
    evicted += referee.asked_evictions();
  }
  EXPECT_GT(cancelled, 0u);
  EXPECT_GT(evicted, 0u);
}

TEST(RandomLoads, HoldWhereHostsMemoryIsShared) {
  for (int most_links : {1, 2}) {
    std::uint64_t crowded = 0;
    for (std::uint32_t seed = 0; seed < 10; ++seed) {
      const Load load{.gpus = 8, .most_links = most_links, .batches = true, .mean_gap_ms = 1, .gpus_per_host = 4};
      Referee referee(load, seed);
      referee.run(1500);
      crowded += referee.crowded();
    }
    EXPECT_GT(crowded, 0u) << most_links;
  }
}

TEST(RandomLoads, HoldWithParallelTransmission) {
  for (double mean_gap_ms : {0.5, 3.0, 10.0}) {
    std::uint64_t shared = 0;
    for (std::uint32_t seed = 0; seed < 10; ++seed) {
      Referee referee({.gpus = 8, .most_links = 3, .batches = true, .mean_gap_ms = mean_gap_ms}, seed);
      referee.run(1500);
      shared += referee.shared_links();
    }
    EXPECT_GT(shared, 0u) << mean_gap_ms;
  }
}

}  // namespace
}  // namespace deepplan
