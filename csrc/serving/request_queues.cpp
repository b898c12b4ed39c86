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

void RequestQueues::pop_of_instance(int gpu, int instance) {
  Ends& queue = by_gpu_[gpu];
  Ends& alike = by_instance_[instance];
  const Position position = alike.first;
  Node& node = pool_[position];
  alike.first = node.next_of_instance;
  if (alike.first == kNone) alike.last = kNone;
  (node.previous == kNone ? queue.first : pool_[node.previous].next) = node.next;
  (node.next == kNone ? queue.last : pool_[node.next].previous) = node.previous;
  node.next = free_;
  free_ = position;
}

RequestQueues::Position RequestQueues::next_alike(Position position) const {
  const Position next = pool_[position].next_of_instance;
  return next == kNone || pool_[next].request.cold ? kNone : next;
}

}  // namespace deepplan
