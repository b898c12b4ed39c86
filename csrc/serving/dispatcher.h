#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "serving/event_file.h"
#include "serving/scheduler.h"

namespace deepplan {

// A job as its runner gets it: it stays as it is while others are scheduled.
struct DispatchedJob {
  int gpu = 0;
  int instance = 0;
  int batch_size = 1;
  std::vector<std::int64_t> requests;  // oldest first, at most batch_size
  bool cold = false;
  std::vector<int> links;    // of a cold start: the GPUs whose links it may use, its own first
  std::vector<int> evicted;  // leave the GPU before it begins
  double submitted_ms = 0;   // on the dispatcher's clock, and how long it is predicted to take
  double predicted_ms = 0;
};

// Carries jobs out.
class JobRunner {
 public:
  virtual ~JobRunner() = default;
  // Returns when the results are there; called by each GPU's own thread, for one job at a time. What it throws has
  // become of the job's request, and after a cold job the instance is not there; of several requests, each is run once
  // more by itself, unless it is a DeviceError: nothing can run on the GPU after that. Returns whether the instance had
  // to be brought in: memory may have been short where the scheduler counted on it.
  virtual bool run(const DispatchedJob& job) = 0;
  // An instance that nobody waits for leaves its GPU. Called while nothing of that instance runs; must not wait.
  virtual void evict(int gpu, int instance) = 0;
};

// What became of a request.
struct EndedRequest {
  std::int64_t request = 0;
  int gpu = 0;
  bool cold = false;
  int links = 0;  // that a cold start went over
  int batch_size = 1;
  bool leads_batch = false;  // of the requests of a job, the first
  double queue_ms = 0;       // from its submission to the begin of its job
  double run_ms = 0;
  std::string error;           // empty: it was answered
  bool device_failed = false;  // with an error after which the GPU answers nothing any more
};

struct DispatcherStatus {
  ServingCounters counters;
  std::vector<std::size_t> resident_bytes;  // by GPU
  std::vector<int> queued;                  // requests, by GPU, those running not among them
  std::vector<int> gpu_of;                  // by instance: where it is resident or will be, -1 nowhere
  double slowdown = 1;                      // how many times its prediction a job has taken of late
  // By GPU: for how long what runs there has taken more than a hundred times what was predicted; 0 where it has not.
  std::vector<double> overdue_ms;
};

// The scheduler in real time: tells it what happens when it happens, and has a thread for each GPU carry out its jobs.
// Jobs that take longer than predicted, as when many GPUs load at a time, make it admit fewer requests. Thread-safe.
class Dispatcher {
 public:
  // `runner` must outlive it. Errors as Scheduler's, and std::system_error where the system has no thread to give.
  Dispatcher(ServingSetup setup, JobRunner& runner);
  ~Dispatcher() { stop(); }
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // As Scheduler::submit, now. An accepted request ends sooner or later; its number is free again then.
  Admission submit(std::int64_t request, int instance);
  // Takes the instance off its GPU as soon as nothing of it is queued or runs; no-op for one that is pinned.
  void evict(int instance);
  // What ended since the last call; waits until something has, or for so long.
  std::vector<EndedRequest> wait_ended(std::chrono::milliseconds most);
  // Readable while something has ended that was not taken.
  int ended_descriptor() const { return any_ended_.descriptor(); }
  // Nobody wants the answer any more. Returns whether the request has left the queue; if not it ends as others do.
  bool cancel(std::int64_t request);

  // Returns when no job runs any more. What is still queued is dropped without an answer, and nothing is taken any
  // more.
  void stop();

  DispatcherStatus status() const;

 private:
  struct Worker {
    std::condition_variable changed;
    std::optional<DispatchedJob> job;
    std::optional<double> overdue_at_ms;  // while one runs: when it is to have ended, whatever slows it
    std::thread thread;
  };

  struct Waiting {
    int instance = 0;
    double submitted_ms = 0;
  };

  struct Outcome {
    bool cold = false;
    std::string error = {};
    bool device_failed = false;
  };

  double now_ms() const;
  void start(int gpu, double now_ms);
  void evict_wanted(int gpu);
  void work(int gpu);
  Outcome run(const DispatchedJob& job);
  std::vector<EndedRequest> carry_out(const DispatchedJob& job);
  void learn(const DispatchedJob& job, double now_ms);
  void end(const DispatchedJob& job, double begun_ms, std::vector<EndedRequest> ended);

  JobRunner& runner_;
  const std::chrono::steady_clock::time_point epoch_;
  mutable std::mutex mutex_;
  Scheduler scheduler_;
  std::set<int> to_evict_;                             // instances
  std::set<int> absent_;                               // that were to be brought in, and failed
  std::vector<int> queued_;                            // by GPU
  std::unordered_map<std::int64_t, Waiting> waiting_;  // by request, those running among them
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<EndedRequest> ended_;
  EventFile any_ended_;
  double slowdown_ = 1;
  bool ending_ = false;
};

}  // namespace deepplan
