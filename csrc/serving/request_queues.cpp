#include "serving/request_queues.h"

namespace deepplan {

RequestQueues::Position RequestQueues::new_node() {
  if (free_ == kNone) {
    pool_.emplace_back();
    return static_cast<Position>(pool_.size() - 1);
  }
  const Position position = free_;
  free_ = pool_[position].next;
  return position;
}

void RequestQueues::push(int gpu, const QueuedRequest& request) {
  const Position position = new_node();
  Ends& queue = by_gpu_[gpu];
  Ends& alike = by_instance_[request.instance];
  pool_[position] = {.request = request, .previous = queue.last};
  (queue.last == kNone ? queue.first : pool_[queue.last].next) = position;
  queue.last = position;
  (alike.last == kNone ? alike.first : pool_[alike.last].next_of_instance) = position;
  alike.last = position;
}

void RequestQueues::pop_of_instance(int gpu, int instance) { unlink(gpu, by_instance_[instance].first, kNone); }

void RequestQueues::unlink(int gpu, Position position, Position before) {
  Node& node = pool_[position];
  Ends& queue = by_gpu_[gpu];
  Ends& alike = by_instance_[node.request.instance];
  (before == kNone ? alike.first : pool_[before].next_of_instance) = node.next_of_instance;
  if (alike.last == position) alike.last = before;
  (node.previous == kNone ? queue.first : pool_[node.previous].next) = node.next;
  (node.next == kNone ? queue.last : pool_[node.next].previous) = node.previous;
  node.next = free_;
  free_ = position;
}

std::optional<double> RequestQueues::remove(int gpu, int instance, std::int64_t request) {
  Position before = kNone;
  Position position = by_instance_[instance].first;
  while (position != kNone && pool_[position].request.request != request) {
    before = position;
    position = pool_[position].next_of_instance;
  }
  if (position == kNone) return std::nullopt;
  QueuedRequest& removed = pool_[position].request;
  if (removed.cold) {
    const Position heir = next_alike(position);
    if (heir == kNone) return std::nullopt;
    removed.request = pool_[heir].request.request;
    removed.deadline_ms = pool_[heir].request.deadline_ms;
    before = position;
    position = heir;
  }
  const double planned_ms = pool_[position].request.planned_ms;
  unlink(gpu, position, before);
  return planned_ms;
}

RequestQueues::Position RequestQueues::next_alike(Position position) const {
  const Position next = pool_[position].next_of_instance;
  return next == kNone || pool_[next].request.cold ? kNone : next;
}

}  // namespace deepplan
