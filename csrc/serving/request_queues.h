#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace deepplan {

struct QueuedRequest {
  std::int64_t request = 0;
  int instance = 0;
  bool cold = false;      // it was decided at submission that this request brings its instance in
  int evictions = 0;      // how many instances go for that
  double planned_ms = 0;  // what it adds to its GPU's queue, run by itself
  double deadline_ms = 0;
};

// The queued requests of every GPU and, within them, of every instance, both oldest first. All of an instance's are on
// one GPU. One pool holds them, so that nothing is allocated once it has grown to the longest queues.
class RequestQueues {
 public:
  using Position = std::int32_t;
  static constexpr Position kNone = -1;

  RequestQueues(int gpus, int instances) : by_gpu_(gpus), by_instance_(instances) {}

  void push(int gpu, const QueuedRequest& request);
  // Removes the oldest request of an instance, wherever it stands in the GPU's queue.
  void pop_of_instance(int gpu, int instance);
  // Removes a request from wherever it stands and returns the time that was planned for it. A cold start stays in its
  // place, for the next request that is served by it; where there is none, nothing is removed, as for a request that is
  // not queued.
  std::optional<double> remove(int gpu, int instance, std::int64_t request);
  bool any_of(int instance) const { return by_instance_[instance].first != kNone; }

  const QueuedRequest& at(Position position) const { return pool_[position].request; }
  Position first(int gpu) const { return by_gpu_[gpu].first; }
  Position next(Position position) const { return pool_[position].next; }
  // The next of the same instance that is served by the same cold start, kNone where another one comes between.
  Position next_alike(Position position) const;

 private:
  struct Ends {
    Position first = kNone;
    Position last = kNone;
  };
  struct Node {
    QueuedRequest request;
    Position previous = kNone;  // of the GPU
    Position next = kNone;      // of the GPU; among free nodes, the next free one
    Position next_of_instance = kNone;
  };

  Position new_node();
  // `before` is the one before it among its instance's.
  void unlink(int gpu, Position position, Position before);

  std::vector<Node> pool_;
  Position free_ = kNone;
  std::vector<Ends> by_gpu_;
  std::vector<Ends> by_instance_;
};

}  // namespace deepplan
