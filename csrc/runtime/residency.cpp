#include "runtime/residency.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.h"

namespace deepplan {
namespace {

struct Entry {
  DeviceBlock block;
  std::size_t bytes = 0;
  bool loaded = false;
  bool pinned = false;
  bool in_use = false;
  std::uint64_t used_at = 0;  // a count of uses, not a time
  std::shared_ptr<Event> last_use;

  bool evictable() const { return !pinned && !in_use; }
};

}  // namespace

struct ResidencyState {
  explicit ResidencyState(DevicePool from) : pool(std::move(from)) {}

  mutable std::mutex mutex;
  DevicePool pool;
  std::map<std::string, Entry> models;
  std::uint64_t uses = 0;

  using Position = std::map<std::string, Entry>::iterator;

  void drop(Position model) {
    if (model->second.last_use) model->second.block.set_last_use(std::move(model->second.last_use));
    models.erase(model);
  }

  std::optional<Position> least_recently_used() {
    std::optional<Position> oldest;
    for (auto model = models.begin(); model != models.end(); ++model) {
      if (!model->second.evictable()) continue;
      if (!oldest || model->second.used_at < (*oldest)->second.used_at) oldest = model;
    }
    return oldest;
  }

  [[noreturn]] void refuse(const std::string& model, std::size_t bytes, const std::string& reason,
                           bool fits_alone = true) const {
    std::string staying;
    for (const auto& [name, entry] : models) {
      if (entry.evictable()) continue;
      staying += (staying.empty() ? "; must stay: " : ", ") + name + " (" + format_bytes(entry.bytes) +
                 (entry.in_use ? ", in use)" : ", pinned)");
    }
    throw OutOfMemory("no room for model " + model + " of " + format_bytes(bytes) + ": " + reason + staying +
                      (fits_alone ? "; close other models, or stop what else takes memory there"
                                  : "; it does not fit alone either: take a larger device, or a plan that reads more "
                                    "of it in place, without promotion"));
  }

  // The range at `home`, cleared of models that may go; nothing where one of them has to stay.
  std::optional<DeviceBlock> make_room_at(const char* home, std::size_t bytes) {
    if (pool.hold(home) == nullptr) return std::nullopt;  // that memory went back to the device
    std::vector<Position> in_the_way;
    for (auto model = models.begin(); model != models.end(); ++model) {
      const char* const data = model->second.block.data();
      if (data >= home + bytes || home >= data + model->second.bytes) continue;
      if (!model->second.evictable()) return std::nullopt;
      in_the_way.push_back(model);
    }
    for (const Position model : in_the_way) drop(model);
    return pool.allocate_at(home, bytes);
  }

  // With nothing left to evict: the memory that idle models would have come back to goes, too.
  DeviceBlock last_resort(const std::string& model, std::size_t bytes) {
    try {
      return pool.allocate(bytes);
    } catch (const OutOfMemory& error) {
      refuse(model, bytes, error.message());
    }
  }

  DeviceBlock make_room(const std::string& model, std::size_t bytes) {
    std::size_t staying_bytes = 0;
    for (const auto& [name, entry] : models) {
      if (!entry.evictable()) staying_bytes += entry.bytes;
    }
    const DevicePoolStats stats = pool.stats();
    const std::size_t budget = stats.budget_bytes;
    const std::size_t most =
        budget > 0 ? budget - std::min(budget, stats.charged_bytes) : pool.device().memory_info().total_bytes;
    if (staying_bytes > most || bytes > most - staying_bytes) {
      refuse(model, bytes, (budget > 0 ? "the budget is " : "the device has ") + format_bytes(most), bytes <= most);
    }
    while (true) {
      try {
        return pool.allocate(bytes, /*even_held=*/false);
      } catch (const OutOfMemory&) {
        const auto oldest = least_recently_used();
        if (!oldest) return last_resort(model, bytes);
        drop(*oldest);
      }
    }
  }
};

struct ResidencyLease::Hold {
  std::shared_ptr<ResidencyState> state;
  ResidencyState::Position model;  // stays valid: a leased model is not erased
  bool was_loaded;

  Hold(std::shared_ptr<ResidencyState> from, ResidencyState::Position position)
      : state(std::move(from)), model(position), was_loaded(position->second.loaded) {
    position->second.in_use = true;
    position->second.used_at = ++state->uses;
  }

  ~Hold() {
    const std::lock_guard lock(state->mutex);
    model->second.in_use = false;
    if (!model->second.loaded) state->drop(model);
  }
};

ResidencyLease::ResidencyLease(std::unique_ptr<Hold> hold) : hold_(std::move(hold)) {}
ResidencyLease::ResidencyLease() = default;
ResidencyLease::ResidencyLease(ResidencyLease&&) noexcept = default;
ResidencyLease& ResidencyLease::operator=(ResidencyLease&&) noexcept = default;
ResidencyLease::~ResidencyLease() = default;

char* ResidencyLease::data() const { return hold_ ? hold_->model->second.block.data() : nullptr; }

bool ResidencyLease::was_loaded() const { return hold_ && hold_->was_loaded; }

std::vector<std::shared_ptr<Event>> ResidencyLease::last_uses() const {
  if (!hold_) return {};
  const std::lock_guard lock(hold_->state->mutex);
  const Entry& entry = hold_->model->second;
  if (!hold_->was_loaded) return entry.block.last_uses();
  return entry.last_use ? std::vector{entry.last_use} : std::vector<std::shared_ptr<Event>>{};
}

void ResidencyLease::mark_loaded() {
  if (!hold_) throw InvalidArgument("an empty lease holds no model");
  const std::lock_guard lock(hold_->state->mutex);
  hold_->model->second.loaded = true;
}

void ResidencyLease::set_last_use(std::shared_ptr<Event> event) {
  if (!hold_) throw InvalidArgument("an empty lease holds no model");
  const std::lock_guard lock(hold_->state->mutex);
  hold_->model->second.last_use = std::move(event);
}

Residency::Residency(DevicePool pool) : state_(std::make_shared<ResidencyState>(std::move(pool))) {}

ResidencyLease Residency::acquire(const std::string& model, std::size_t bytes, const char* home) {
  const std::lock_guard lock(state_->mutex);
  auto found = state_->models.find(model);
  if (found != state_->models.end()) {
    if (found->second.in_use) throw InvalidArgument("model " + model + " is in use: one lease at a time");
    if (found->second.bytes != bytes) {
      state_->drop(found);
      found = state_->models.end();
    }
  }
  if (found == state_->models.end()) {
    std::optional<DeviceBlock> block = home == nullptr ? std::nullopt : state_->make_room_at(home, bytes);
    if (!block) block = state_->make_room(model, bytes);
    found = state_->models.try_emplace(model).first;
    found->second.block = std::move(*block);
    found->second.bytes = bytes;
  }
  return ResidencyLease(std::make_unique<ResidencyLease::Hold>(state_, found));
}

bool Residency::evict(const std::string& model) {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->models.find(model);
  if (found == state_->models.end()) return false;
  if (found->second.in_use) throw InvalidArgument("model " + model + " is in use and cannot be evicted");
  state_->drop(found);
  return true;
}

void Residency::evict_idle() {
  const std::lock_guard lock(state_->mutex);
  while (const auto oldest = state_->least_recently_used()) state_->drop(*oldest);
}

void Residency::touch(const std::string& model) {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->models.find(model);
  if (found != state_->models.end()) found->second.used_at = ++state_->uses;
}

void Residency::pin(const std::string& model, bool pinned) {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->models.find(model);
  if (found == state_->models.end()) throw InvalidArgument("model " + model + " is not resident");
  found->second.pinned = pinned;
}

bool Residency::contains(const std::string& model) const {
  const std::lock_guard lock(state_->mutex);
  return state_->models.contains(model);
}

std::vector<ResidentModel> Residency::list() const {
  const std::lock_guard lock(state_->mutex);
  std::map<std::uint64_t, ResidentModel> by_use;
  for (const auto& [name, entry] : state_->models) {
    by_use[entry.used_at] = {name, entry.bytes, entry.loaded, entry.pinned, entry.in_use};
  }
  std::vector<ResidentModel> models;
  for (auto& [used_at, model] : by_use) models.push_back(std::move(model));
  return models;
}

std::size_t Residency::budget_bytes() const { return state_->pool.stats().budget_bytes; }

}  // namespace deepplan
