#include "serving/served_model.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace deepplan {
namespace {

void check_ms(double value, const std::string& what) {
  if (std::isfinite(value) && value > 0) return;
  throw InvalidArgument(what + " takes " + std::to_string(value) + " ms: give a positive, finite time");
}

}  // namespace

ColdCost fastest_cold(const BatchCost& batch, int links) {
  const auto end = batch.cold_ms.begin() + std::min<std::ptrdiff_t>(links, std::ssize(batch.cold_ms));
  const auto fastest = std::min_element(batch.cold_ms.begin(), end);
  return {*fastest, static_cast<int>(fastest - batch.cold_ms.begin()) + 1};
}

const BatchCost& ServedModel::padded(int requests) const {
  auto batch = batches.begin();
  while (batch->size < requests) ++batch;
  return *batch;
}

void check_served_model(const ServedModel& model, std::size_t index) {
  const std::string name = "model " + std::to_string(index);
  if (model.device_bytes == 0) throw InvalidArgument(name + " has 0 bytes: give the memory it takes on a GPU");
  if (model.batches.empty() || model.batches.front().size != 1) {
    throw InvalidArgument(name + " has no costs of batch size 1: its smallest batch must be of size 1");
  }
  int previous = 0;
  for (const BatchCost& batch : model.batches) {
    const std::string what = name + " at batch size " + std::to_string(batch.size);
    if (batch.size <= previous) throw InvalidArgument(what + " is out of order: list batch sizes ascending");
    if (batch.cold_ms.empty()) throw InvalidArgument(what + " has no cold start: give its time over 1 link at least");
    check_ms(batch.warm_ms, what + ", warm,");
    for (double cold_ms : batch.cold_ms) check_ms(cold_ms, what + ", cold,");
    previous = batch.size;
  }
}

}  // namespace deepplan
