#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "core/host_link.h"

namespace deepplan {

// A point in a queue that threads can wait for; reached once, for good.
class HostPoint {
 public:
  void reach();
  bool reached() const;
  // Blocks until it is reached; what was done before reach() is visible after it.
  void wait() const;
  // When it was reached, which it must have been.
  HostLink::TimePoint time() const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool reached_ = false;
  HostLink::TimePoint time_{};
};

// A worker thread that does what it is given, in order. Destroying it does the rest first.
class HostQueue {
 public:
  // Work is told from when on it may count link time: the end of what was done before it, or, for a queue that stood
  // idle, when it was given. So a worker that is scheduled late catches up and the link keeps its rate. It returns when
  // it ended on that clock.
  using Work = std::function<HostLink::TimePoint(HostLink::TimePoint ready)>;

  HostQueue();
  ~HostQueue();
  HostQueue(const HostQueue&) = delete;
  HostQueue& operator=(const HostQueue&) = delete;

  void push(Work work);
  // A point behind everything given so far.
  std::shared_ptr<HostPoint> mark();

 private:
  struct Item {
    Work work;
    HostLink::TimePoint given;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  bool stopping_ = false;
  std::thread worker_;  // last: it uses the rest
};

}  // namespace deepplan
