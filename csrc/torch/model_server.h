// Requests in, answers out: sessions run as the dispatcher says.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "serving/dispatcher.h"
#include "torch/served_sessions.h"

namespace deepplan {

struct Answer {
  EndedRequest ended;
  std::vector<at::Tensor> outputs;  // on the CPU; empty where ended.error says why
};

// Thread-safe.
class ModelServer {
 public:
  // Borrows the sessions. Errors as Dispatcher's and ServedSessions'.
  ModelServer(ServingSetup setup, std::vector<ServedInstance> instances, std::vector<std::vector<int>> link_of)
      : sessions_(std::move(instances), std::move(link_of), setup.options.pinned),
        dispatcher_(std::move(setup), sessions_) {}

  // `request` is a number of the caller's own, used again only when it was answered; `inputs` are tensors of one call
  // of the instance, on the CPU. InvalidArgument for others.
  Admission submit(std::int64_t request, int instance, std::vector<at::Tensor> inputs);
  // What was answered since the last call; waits until something was, or for so long.
  std::vector<Answer> wait_answers(std::chrono::milliseconds most);
  // Readable while there are any.
  int answers_descriptor() const { return dispatcher_.ended_descriptor(); }
  // Whether the request will not be answered any more.
  bool cancel(std::int64_t request);
  void evict(int instance) { dispatcher_.evict(instance); }
  // As Dispatcher::stop().
  void stop() { dispatcher_.stop(); }
  DispatcherStatus status() const { return dispatcher_.status(); }

 private:
  ServedSessions sessions_;
  Dispatcher dispatcher_;  // after what it runs: its threads end first
};

}  // namespace deepplan
