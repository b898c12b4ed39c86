// The models of a server, run as a dispatcher says.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "serving/dispatcher.h"
#include "torch/session.h"

namespace deepplan {

// One planned batch size of an instance on one GPU. Sessions of an instance on a GPU share their copies of its weights.
struct ServedSession {
  int batch_size = 1;
  Session* session = nullptr;
};

// By GPU, each by ascending batch size.
using ServedInstance = std::vector<std::vector<ServedSession>>;

// Runs requests on sessions that it borrows. Tensors of several requests are joined along their first dimension, and a
// batch that is not full is filled with its last request.
class ServedSessions : public JobRunner {
 public:
  // `link_of[gpu][other]` is which of GPU gpu's links is GPU other's, -1 for none. `pinned` is by instance, empty for
  // none: such a one stays in GPU memory even where that has no place for another in one piece. InvalidArgument where
  // an instance lacks a GPU or a session.
  ServedSessions(std::vector<ServedInstance> instances, std::vector<std::vector<int>> link_of,
                 std::vector<bool> pinned = {});

  // What a request brings, on the CPU; before it is submitted. InvalidArgument where it is no call of the instance by
  // itself: joined with others it could fail them, or be answered by what is theirs. So for a number that is in use.
  void put(std::int64_t request, int instance, std::vector<at::Tensor> inputs);
  // The request's results, on the CPU; empty if it failed. Its inputs are gone then.
  std::vector<at::Tensor> take(std::int64_t request);

  bool run(const DispatchedJob& job) override;
  void evict(int gpu, int instance) override;

 private:
  std::vector<at::Tensor> join(const DispatchedJob& job) const;
  bool run_on(Session& session, const DispatchedJob& job);

  std::vector<ServedInstance> instances_;
  std::vector<std::vector<int>> link_of_;
  std::vector<bool> pinned_;
  mutable std::mutex mutex_;
  std::map<std::int64_t, std::vector<at::Tensor>> inputs_;
  std::map<std::int64_t, std::vector<at::Tensor>> outputs_;
};

}  // namespace deepplan
