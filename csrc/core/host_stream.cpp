#include "core/host_stream.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace deepplan {
namespace {

const HostEvent& as_host_event(const Event& event) {
  const auto* host = dynamic_cast<const HostEvent*>(&event);
  if (host == nullptr) throw InvalidArgument("an event of " + to_string(event.device()) + " means nothing to the host");
  return *host;
}

}  // namespace

std::shared_ptr<const HostPoint> HostEvent::point() const {
  const std::lock_guard lock(mutex_);
  return point_;
}

void HostEvent::set_point(std::shared_ptr<const HostPoint> point) {
  const std::lock_guard lock(mutex_);
  point_ = std::move(point);
}

bool HostEvent::query() const {
  const auto last = point();
  return last == nullptr || last->reached();
}

void HostEvent::synchronize() const {
  if (const auto last = point()) last->wait();
}

HostLink::TimePoint HostEvent::time() const {
  if (kind_ != EventKind::Timed) throw InvalidArgument("the event was not made to carry a time");
  const auto last = point();
  if (last == nullptr || !last->reached()) throw InvalidArgument("the event was not recorded, or not reached yet");
  return last->time();
}

double HostEvent::elapsed_ms_since(const Event& earlier) const {
  const HostEvent& from = as_host_event(earlier);
  if (from.device_ != device_) {
    throw InvalidArgument("no time between events of " + to_string(from.device_) + " and " + to_string(device_));
  }
  return std::chrono::duration<double, std::milli>(time() - from.time()).count();
}

HostEvent& HostStream::own(Event& event) const {
  auto* host = dynamic_cast<HostEvent*>(&event);
  if (host == nullptr || host->device() != device()) {
    throw InvalidArgument("a stream of " + to_string(device()) + " cannot record an event of " +
                          to_string(event.device()));
  }
  return *host;
}

void QueuedHostStream::wait(const Event& event) {
  auto point = as_host_event(event).point();
  if (point == nullptr) return;
  queue_->push([point = std::move(point)](HostLink::TimePoint ready) {
    point->wait();
    return std::max(ready, point->time());
  });
}

void QueuedHostStream::record(Event& event) { own(event).set_point(queue_->mark()); }

void InlineHostStream::wait(const Event& event) { as_host_event(event).synchronize(); }

void InlineHostStream::record(Event& event) {
  auto point = std::make_shared<HostPoint>();
  point->reach();
  own(event).set_point(std::move(point));
}

}  // namespace deepplan
