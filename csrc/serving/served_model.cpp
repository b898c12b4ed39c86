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

// What waits is planned to start when most links are in use: nothing may be slower than that.
void check_crowded(const BatchCost& batch, const std::string& what) {
  const std::vector<double>* fewer = &batch.cold_ms;
  for (const std::vector<double>& by_links : batch.crowded_ms) {
    if (by_links.empty() || by_links.size() > fewer->size()) {
      throw InvalidArgument(what + " has " + std::to_string(by_links.size()) +
                            " crowded cold starts: give at least one, and none over more links than the row before");
    }
    for (std::size_t i = 0; i < by_links.size(); ++i) {
      check_ms(by_links[i], what + ", cold and crowded,");
      if (by_links[i] < (*fewer)[i]) throw InvalidArgument(what + " starts faster where more links are in use");
    }
    fewer = &by_links;
  }
}

const std::vector<double>& beside(const BatchCost& batch, int others) {
  const std::ptrdiff_t row = std::min<std::ptrdiff_t>(others, std::ssize(batch.crowded_ms));
  return row == 0 ? batch.cold_ms : batch.crowded_ms[row - 1];
}

}  // namespace

double cold_ms(const BatchCost& batch, int links, int others) {
  const std::vector<double>& by_links = beside(batch, others);
  return by_links[std::min<std::ptrdiff_t>(links, std::ssize(by_links)) - 1];
}

ColdCost fastest_cold(const BatchCost& batch, int links, int others) {
  const std::vector<double>& by_links = beside(batch, others);
  const auto end = by_links.begin() + std::min<std::ptrdiff_t>(links, std::ssize(by_links));
  const auto fastest = std::min_element(by_links.begin(), end);
  return {*fastest, static_cast<int>(fastest - by_links.begin()) + 1};
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
    check_crowded(batch, what);
    previous = batch.size;
  }
}

}  // namespace deepplan
