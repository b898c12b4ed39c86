#include "torch/model_server.h"

#include <utility>

namespace deepplan {

Admission ModelServer::submit(std::int64_t request, int instance, std::vector<at::Tensor> inputs) {
  sessions_.put(request, instance, std::move(inputs));  // its job may begin before submit() returns
  try {
    const Admission admission = dispatcher_.submit(request, instance);
    if (!admission.accepted) sessions_.take(request);
    return admission;
  } catch (...) {
    sessions_.take(request);
    throw;
  }
}

std::vector<Answer> ModelServer::wait_answers(std::chrono::milliseconds most) {
  std::vector<Answer> answers;
  for (EndedRequest& ended : dispatcher_.wait_ended(most)) {
    std::vector<at::Tensor> outputs = sessions_.take(ended.request);
    answers.push_back({std::move(ended), std::move(outputs)});
  }
  return answers;
}

bool ModelServer::cancel(std::int64_t request) {
  const bool cancelled = dispatcher_.cancel(request);
  if (cancelled) sessions_.take(request);
  return cancelled;
}

}  // namespace deepplan
