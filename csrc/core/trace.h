#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deepplan {

// One stretch of work on one lane ("execute", "link 0"), in nanoseconds of the steady clock.
struct Span {
  std::string name;
  std::string lane;
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
};

inline std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The spans of one run, in the order they ended. Used by one thread at a time. Code that may be traced takes a
// Trace*, null when tracing is off.
class Trace {
 public:
  void add(Span span) { spans_.push_back(std::move(span)); }
  const std::vector<Span>& spans() const { return spans_; }
  std::vector<Span> take() { return std::exchange(spans_, {}); }
  void clear() { spans_.clear(); }

 private:
  std::vector<Span> spans_;
};

// Records the time from its making to its end into `trace`; with a null trace it costs one comparison and copies
// nothing. `name` and `lane` must outlive it.
class ScopedSpan {
 public:
  ScopedSpan(Trace* trace, std::string_view name, std::string_view lane)
      : trace_(trace), name_(name), lane_(lane), start_ns_(trace != nullptr ? now_ns() : 0) {}
  ~ScopedSpan() {
    if (trace_ != nullptr) trace_->add({std::string(name_), std::string(lane_), start_ns_, now_ns()});
  }
  ScopedSpan(const ScopedSpan&) = delete;
  ScopedSpan& operator=(const ScopedSpan&) = delete;

 private:
  Trace* trace_;
  std::string_view name_;
  std::string_view lane_;
  std::int64_t start_ns_;
};

}  // namespace deepplan
