#include "serving/residency_ledger.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace deepplan {

ResidencyLedger::ResidencyLedger(int gpus, std::size_t gpu_bytes, const std::vector<std::size_t>& instance_bytes,
                                 const std::vector<bool>& pinned)
    : gpu_bytes_(gpu_bytes), instances_(instance_bytes.size()), gpus_(gpus) {
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    instances_[i].bytes = instance_bytes[i];
    instances_[i].pinned = !pinned.empty() && pinned[i];
    if (instance_bytes[i] <= gpu_bytes) continue;
    throw InvalidArgument("instance " + std::to_string(i) + " takes " + format_bytes(instance_bytes[i]) +
                          " of a GPU's " + format_bytes(gpu_bytes) + ": give GPUs more memory or leave it out");
  }
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    if (instances_[i].pinned) place_pinned(static_cast<int>(i));
  }
  std::size_t most_pinned = 0;
  for (const Gpu& gpu : gpus_) most_pinned = std::max(most_pinned, gpu.planned_bytes);
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    if (instances_[i].pinned || most_pinned + instances_[i].bytes <= gpu_bytes) continue;
    throw InvalidArgument("instance " + std::to_string(i) + " takes " + format_bytes(instances_[i].bytes) +
                          ", and pinned ones leave " + format_bytes(gpu_bytes - most_pinned) + " of a GPU: pin fewer");
  }
}

void ResidencyLedger::place_pinned(int instance) {
  const auto emptiest = std::min_element(gpus_.begin(), gpus_.end(),
                                         [](const Gpu& a, const Gpu& b) { return a.planned_bytes < b.planned_bytes; });
  Instance& entry = instances_[instance];
  if (emptiest->planned_bytes + entry.bytes > gpu_bytes_) {
    throw InvalidArgument("instance " + std::to_string(instance) + " takes " + format_bytes(entry.bytes) +
                          ", and other pinned ones leave " + format_bytes(gpu_bytes_ - emptiest->planned_bytes) +
                          " of the emptiest GPU: pin fewer");
  }
  entry.gpu = static_cast<int>(emptiest - gpus_.begin());
  emptiest->planned_bytes += entry.bytes;
}

void ResidencyLedger::touch(int instance) {
  Instance& entry = instances_[instance];
  if (entry.pinned) return;
  Gpu& gpu = gpus_[entry.gpu];
  if (gpu.newest == instance) return;
  unlink(gpu, instance);
  append(gpu, instance);
}

int ResidencyLedger::plan_load(int gpu, int instance) {
  Gpu& place = gpus_[gpu];
  Instance& entry = instances_[instance];
  entry.stays = true;
  if (entry.pinned) return 0;  // its room is kept
  int evictions = 0;
  for (; place.planned_bytes + entry.bytes > gpu_bytes_; ++evictions) {
    const int victim = place.oldest;
    unlink(place, victim);
    instances_[victim].stays = false;
    ++instances_[victim].evictions_due;
    place.planned_bytes -= instances_[victim].bytes;
    place.due.push_back(victim);
  }
  entry.gpu = gpu;
  place.planned_bytes += entry.bytes;
  append(place, instance);
  return evictions;
}

void ResidencyLedger::carry_out_load(int instance, int evictions, std::vector<int>& evicted) {
  Gpu& gpu = gpus_[instances_[instance].gpu];
  for (; evictions > 0; --evictions) {
    const int victim = gpu.due.front();
    gpu.due.pop_front();
    Instance& entry = instances_[victim];
    gpu.resident_bytes -= entry.bytes;
    --entry.evictions_due;
    if (!entry.stays && entry.evictions_due == 0) entry.gpu = kNowhere;
    evicted.push_back(victim);
  }
  gpu.resident_bytes += instances_[instance].bytes;
}

bool ResidencyLedger::drop(int instance) {
  Instance& entry = instances_[instance];
  if (!entry.stays || entry.pinned) return false;
  Gpu& gpu = gpus_[entry.gpu];
  unlink(gpu, instance);
  gpu.planned_bytes -= entry.bytes;
  gpu.resident_bytes -= entry.bytes;
  entry.stays = false;
  entry.gpu = kNowhere;
  return true;
}

void ResidencyLedger::append(Gpu& gpu, int instance) {
  instances_[instance].older = gpu.newest;
  instances_[instance].newer = kNowhere;
  (gpu.newest == kNowhere ? gpu.oldest : instances_[gpu.newest].newer) = instance;
  gpu.newest = instance;
}

void ResidencyLedger::unlink(Gpu& gpu, int instance) {
  const Instance& entry = instances_[instance];
  (entry.older == kNowhere ? gpu.oldest : instances_[entry.older].newer) = entry.newer;
  (entry.newer == kNowhere ? gpu.newest : instances_[entry.newer].older) = entry.older;
}

}  // namespace deepplan
