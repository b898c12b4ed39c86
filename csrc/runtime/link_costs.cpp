#include "runtime/link_costs.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "core/error.h"

namespace deepplan {
namespace {

constexpr std::size_t kLeastPieces = 8;  // so that filling the staging buffers is a small part of a measurement
constexpr std::size_t kSmallBytes = 4096;
constexpr std::size_t kSmallPieces = 32;

// Sends pieces over all links in turn and takes the time until each link's last one has arrived.
class Probe {
 public:
  Probe(Links& links, int count, std::size_t bytes, PinnedArena& arena)
      : links_(links),
        count_(count),
        bytes_(bytes),
        source_(arena.allocate(bytes * static_cast<std::size_t>(count))),
        landing_(links.target().allocate(links.slot_bytes() * static_cast<std::size_t>(count))) {
    for (int link = 0; link < count; ++link) arrived_.push_back(links.device(link).create_event());
  }
  ~Probe() {
    try {
      for (int link = 0; link < count_; ++link) links_.write_stream(link).synchronize();
    } catch (const Error&) {
      // The device failed: whoever measures was told.
    }
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  std::vector<double> times_ms(std::size_t piece_bytes, std::size_t pieces) {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t piece = 0; piece < pieces; ++piece) {
      for (int link = 0; link < count_; ++link) {
        const auto index = static_cast<std::size_t>(link);
        const char* source = source_.data() + index * bytes_ + piece % (bytes_ / piece_bytes) * piece_bytes;
        links_.send(link, landing_->data() + index * links_.slot_bytes(), source, piece_bytes);
      }
    }
    for (int link = 0; link < count_; ++link)
      links_.write_stream(link).record(*arrived_[static_cast<std::size_t>(link)]);
    std::vector<double> times(arrived_.size(), -1.0);
    for (std::size_t left = arrived_.size(); left > 0; std::this_thread::yield()) {
      for (std::size_t link = 0; link < times.size(); ++link) {
        if (times[link] >= 0 || !arrived_[link]->query()) continue;
        times[link] = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
        --left;
      }
    }
    return times;
  }

 private:
  Links& links_;
  int count_;
  std::size_t bytes_;
  PinnedBlock source_;
  std::unique_ptr<DeviceMemory> landing_;
  std::vector<std::unique_ptr<Event>> arrived_;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::vector<LinkCost> measure_link_costs(Links& links, int count, std::size_t bytes, PinnedArena& arena, int repeats) {
  if (count < 1 || count > links.count() || bytes < kLeastPieces * kSmallBytes || repeats < 1) {
    throw InvalidArgument("measuring " + std::to_string(count) + " of " + std::to_string(links.count()) + " links " +
                          std::to_string(repeats) + " times with " + std::to_string(bytes) + " bytes");
  }
  const std::size_t piece_bytes = std::min(links.slot_bytes(), bytes / kLeastPieces);
  const std::size_t pieces = bytes / piece_bytes;
  Probe probe(links, count, pieces * piece_bytes, arena);
  std::vector<std::vector<double>> small(static_cast<std::size_t>(count)), large(static_cast<std::size_t>(count));
  for (int repeat = -1; repeat < repeats; ++repeat) {
    const auto of_small = probe.times_ms(std::min(kSmallBytes, piece_bytes), kSmallPieces);
    const auto of_large = probe.times_ms(piece_bytes, pieces);
    for (std::size_t link = 0; repeat >= 0 && link < small.size(); ++link) {
      small[link].push_back(of_small[link]);
      large[link].push_back(of_large[link]);
    }
  }
  std::vector<LinkCost> costs;
  for (std::size_t link = 0; link < small.size(); ++link) {
    costs.push_back({.latency_ms = median(small[link]) / kSmallPieces,
                     .gbps = static_cast<double>(pieces * piece_bytes) / (median(large[link]) * 1e6)});
  }
  return costs;
}

}  // namespace deepplan
