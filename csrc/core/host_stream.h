#pragma once

#include <memory>
#include <mutex>

#include "core/device.h"
#include "core/host_queue.h"

namespace deepplan {

class HostEvent final : public Event {
 public:
  HostEvent(DeviceId device, EventKind kind) : device_(device), kind_(kind) {}
  DeviceId device() const override { return device_; }
  bool query() const override;
  void synchronize() const override;
  double elapsed_ms_since(const Event& earlier) const override;

  // The point last recorded; null when there was none. Held by waiters, so that recording again does not move them.
  std::shared_ptr<const HostPoint> point() const;
  void set_point(std::shared_ptr<const HostPoint> point);

 private:
  HostLink::TimePoint time() const;

  DeviceId device_;
  EventKind kind_;
  mutable std::mutex mutex_;
  std::shared_ptr<const HostPoint> point_;
};

// What the host device's streams have in common: work of ours can be put on them.
class HostStream : public Stream {
 public:
  explicit HostStream(DeviceId device) : device_(device) {}
  DeviceId device() const final { return device_; }
  void* native() const final { return nullptr; }
  void cut(const Event&) final {}
  virtual void push(HostQueue::Work work) = 0;

 protected:
  // The event as one of the host's; InvalidArgument when it is not, or is not this device's though it must be.
  HostEvent& own(Event& event) const;

 private:
  DeviceId device_;
};

// Runs on a worker thread of its own.
class QueuedHostStream final : public HostStream {
 public:
  QueuedHostStream(DeviceId device, std::shared_ptr<HostQueue> queue) : HostStream(device), queue_(std::move(queue)) {}
  void push(HostQueue::Work work) override { queue_->push(std::move(work)); }
  void wait(const Event& event) override;
  void record(Event& event) override;
  void synchronize() override { queue_->mark()->wait(); }

 private:
  std::shared_ptr<HostQueue> queue_;
};

// Runs on the calling thread, before the call returns.
class InlineHostStream final : public HostStream {
 public:
  using HostStream::HostStream;
  void push(HostQueue::Work work) override { work(HostLink::Clock::now()); }
  void wait(const Event& event) override;
  void record(Event& event) override;
  void synchronize() override {}
};

}  // namespace deepplan
