#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "runtime/device_pool.h"

namespace deepplan {

struct ResidentModel {
  std::string model;
  std::size_t bytes = 0;
  bool loaded = false;  // its bytes are all there (or on their way, ordered by its last use)
  bool pinned = false;  // never evicted to make room
  bool in_use = false;  // leased now
};

struct ResidencyState;

// The right to use a model's device memory, for one run. While it lives, the model is not evicted. Destroying it gives
// the right back; a model not marked as loaded by then is dropped, so that nothing stays half-loaded.
class ResidencyLease {
 public:
  ResidencyLease();
  ResidencyLease(ResidencyLease&&) noexcept;
  ResidencyLease& operator=(ResidencyLease&& other) noexcept;
  ~ResidencyLease();

  char* data() const;
  // Whether the weights were there already: a warm start. Otherwise load them, then mark_loaded().
  bool was_loaded() const;
  // The events the first write into a cold model's memory must wait for; for a warm one what was last given to
  // set_last_use (its weights may still be on their way on another stream).
  std::vector<std::shared_ptr<Event>> last_uses() const;
  void mark_loaded();
  // The event behind this run's last work on the memory. Without one, that work must be done when the lease ends.
  void set_last_use(std::shared_ptr<Event> event);

 private:
  friend class Residency;
  struct Hold;
  explicit ResidencyLease(std::unique_ptr<Hold> hold);
  std::unique_ptr<Hold> hold_;
};

// Which models are in one device's memory. Thread-safe; one lease a model at a time (acquire of a leased model is an
// InvalidArgument: a session runs one call at a time).
class Residency {
 public:
  explicit Residency(DevicePool pool);

  // The model's memory, its old one when it is resident with the same size. To make room, models that are neither
  // leased nor pinned are evicted, least recently used first. OutOfMemory, naming what stays and why, when that is not
  // enough; nothing has been evicted then if it could be known beforehand.
  // A model that comes in gets the memory at `home` if it can be had: models that may be evicted are, wherever they
  // stand in the order of use, because work was captured with this address. Otherwise any memory; the caller looks.
  ResidencyLease acquire(const std::string& model, std::size_t bytes, const char* home = nullptr);
  // Forgets the device copy: no copy and no waiting, the memory is used again behind its last use. False when the model
  // was not resident; InvalidArgument while it is leased.
  bool evict(const std::string& model);
  // Evicts every model that is neither leased nor pinned.
  void evict_idle();
  // Counts as a use: the model becomes the most recently used. No-op when it is not resident.
  void touch(const std::string& model);
  // Protects a resident model from being evicted to make room, or no longer. InvalidArgument when it is not resident.
  void pin(const std::string& model, bool pinned);
  bool contains(const std::string& model) const;
  // Least recently used first.
  std::vector<ResidentModel> list() const;
  std::size_t budget_bytes() const;

 private:
  std::shared_ptr<ResidencyState> state_;
};

}  // namespace deepplan
