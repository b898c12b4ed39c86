#include "core/host_queue.h"

#include <algorithm>
#include <utility>

namespace deepplan {
namespace {

// How far link time may lag behind the clock before the lag is forgotten: more than a scheduling hiccup, less than a
// burst that would show.
constexpr std::chrono::milliseconds kCatchUp{2};

}  // namespace

void HostPoint::reach() {
  {
    const std::lock_guard lock(mutex_);
    reached_ = true;
    time_ = HostLink::Clock::now();
  }
  changed_.notify_all();
}

bool HostPoint::reached() const {
  const std::lock_guard lock(mutex_);
  return reached_;
}

void HostPoint::wait() const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return reached_; });
}

HostLink::TimePoint HostPoint::time() const {
  const std::lock_guard lock(mutex_);
  return time_;
}

HostQueue::HostQueue() : worker_([this] { run(); }) {}

HostQueue::~HostQueue() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  worker_.join();
}

void HostQueue::push(Work work) {
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({std::move(work), HostLink::Clock::now()});
  }
  changed_.notify_one();
}

std::shared_ptr<HostPoint> HostQueue::mark() {
  auto point = std::make_shared<HostPoint>();
  push([point](HostLink::TimePoint ready) {
    point->reach();
    return ready;
  });
  return point;
}

void HostQueue::run() {
  HostLink::TimePoint ended{};
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !items_.empty(); });
    if (items_.empty()) return;
    {
      const Item item = std::exchange(items_.front(), {});
      items_.pop_front();
      lock.unlock();
      ended = std::max(item.work(std::max(ended, item.given)), HostLink::Clock::now() - kCatchUp);
    }  // what the work held is let go of outside the lock
    lock.lock();
  }
}

}  // namespace deepplan
