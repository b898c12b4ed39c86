#include "torch/served_sessions.h"

#include <ATen/ops/cat.h>

#include <string>
#include <utility>

#include "core/error.h"
#include "torch/torch_error.h"

namespace deepplan {
namespace {

// Idle models make way for what a run needs beside its weights.
std::vector<c10::IValue> answer_with_room(Session& session, const std::vector<at::Tensor>& inputs) {
  try {
    return session.answer(inputs);
  } catch (const OutOfMemory&) {
    session.evict_idle();
    return session.answer(inputs);
  }
}

}  // namespace

ServedSessions::ServedSessions(std::vector<ServedInstance> instances, std::vector<std::vector<int>> link_of,
                               std::vector<bool> pinned)
    : instances_(std::move(instances)), link_of_(std::move(link_of)), pinned_(std::move(pinned)) {
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    if (instances_[i].size() != link_of_.size()) {
      throw InvalidArgument("instance " + std::to_string(i) + " has sessions on " +
                            std::to_string(instances_[i].size()) + " GPUs of " + std::to_string(link_of_.size()));
    }
    for (const std::vector<ServedSession>& sessions : instances_[i]) {
      if (sessions.empty()) throw InvalidArgument("instance " + std::to_string(i) + " lacks a session on some GPU");
    }
  }
}

void ServedSessions::put(std::int64_t request, int instance, std::vector<at::Tensor> inputs) {
  if (instance < 0 || instance >= std::ssize(instances_)) {
    throw InvalidArgument("instance " + std::to_string(instance) + " of " + std::to_string(instances_.size()));
  }
  instances_[static_cast<std::size_t>(instance)].front().front().session->check(inputs);
  const std::scoped_lock lock(mutex_);
  if (inputs_.contains(request)) throw InvalidArgument("request " + std::to_string(request) + " is under way already");
  inputs_[request] = std::move(inputs);
}

std::vector<at::Tensor> ServedSessions::take(std::int64_t request) {
  std::map<std::int64_t, std::vector<at::Tensor>>::node_type inputs;  // freed after the lock: their owner may be Python
  const std::scoped_lock lock(mutex_);
  inputs = inputs_.extract(request);
  const auto found = outputs_.find(request);
  if (found == outputs_.end()) return {};
  std::vector<at::Tensor> outputs = std::move(found->second);
  outputs_.erase(found);
  return outputs;
}

void ServedSessions::evict(int gpu, int instance) {
  instances_.at(static_cast<std::size_t>(instance))[static_cast<std::size_t>(gpu)].front().session->evict(false);
}

std::vector<at::Tensor> ServedSessions::join(const DispatchedJob& job) const {
  std::vector<std::vector<at::Tensor>> parts;  // by input
  {
    const std::scoped_lock lock(mutex_);
    for (int i = 0; i < job.batch_size; ++i) {
      const std::size_t request = std::min(static_cast<std::size_t>(i), job.requests.size() - 1);
      const std::vector<at::Tensor>& inputs = inputs_.at(job.requests[request]);
      parts.resize(inputs.size());
      for (std::size_t input = 0; input < inputs.size(); ++input) parts[input].push_back(inputs[input]);
    }
  }
  std::vector<at::Tensor> joined;
  for (const std::vector<at::Tensor>& tensors : parts) {
    joined.push_back(tensors.size() == 1 ? tensors.front() : at::cat(tensors));
  }
  return joined;
}

bool ServedSessions::run(const DispatchedJob& job) {
  const auto gpu = static_cast<std::size_t>(job.gpu);
  for (const int victim : job.evicted) evict(job.gpu, victim);
  Session* session = nullptr;
  for (const ServedSession& served : instances_[static_cast<std::size_t>(job.instance)][gpu]) {
    if (served.batch_size == job.batch_size) session = served.session;
  }
  if (session == nullptr) throw InvalidArgument("no session for a batch of " + std::to_string(job.batch_size));
  if (job.cold || !session->is_resident()) {
    // Memory was shorter than the scheduler took it for if it is not resident: no link was leased but the GPU's own.
    std::vector<int> links;
    for (const int other : job.links) links.push_back(link_of_[gpu][static_cast<std::size_t>(other)]);
    if (links.empty()) links.push_back(0);
    session->use_links(std::move(links));
  }
  try {
    return run_on(*session, job);
  } catch (const c10::Error& error) {
    session->settle();     // throws where the GPU is lost
    throw_as_ours(error);  // that of a kernel comes out with the results, if not before
  }
}

bool ServedSessions::run_on(Session& session, const DispatchedJob& job) {
  const std::vector<c10::IValue> results = answer_with_room(session, join(job));
  std::vector<std::vector<at::Tensor>> outputs(job.requests.size());
  for (const c10::IValue& result : results) {
    if (!result.isTensor()) throw InvalidArgument("a model that returns numbers beside tensors cannot be served");
    const at::Tensor& joined = result.toTensor();
    if (job.batch_size > 1 && (joined.dim() == 0 || joined.size(0) % job.batch_size != 0)) {
      throw InvalidArgument("an output's first dimension does not grow with the batch");
    }
    const int64_t rows = job.batch_size > 1 ? joined.size(0) / job.batch_size : 0;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      outputs[i].push_back(job.batch_size > 1 ? joined.narrow(0, static_cast<int64_t>(i) * rows, rows) : joined);
    }
  }
  const bool cold = session.last_was_cold();
  if (cold && !pinned_.empty() && pinned_[static_cast<std::size_t>(job.instance)]) session.pin();
  const std::scoped_lock lock(mutex_);
  for (std::size_t i = 0; i < outputs.size(); ++i) outputs_[job.requests[i]] = std::move(outputs[i]);
  return cold;
}

}  // namespace deepplan
