#pragma once

#include <vector>

namespace deepplan {

// GPUs by a time of each, such as that at which it becomes free: a binary heap that knows where each GPU stands, so
// that a change costs O(log n) and no allocation.
class GpuOrder {
 public:
  explicit GpuOrder(int gpus);

  // The GPU with the least time, the lowest-numbered of equals.
  int earliest() const { return heap_.front(); }
  double time_ms(int gpu) const { return time_ms_[gpu]; }
  void set(int gpu, double time_ms);

 private:
  bool before(int a, int b) const { return time_ms_[a] < time_ms_[b] || (time_ms_[a] == time_ms_[b] && a < b); }
  void place(int gpu, int position);
  void sift_up(int position);
  void sift_down(int position);

  std::vector<double> time_ms_;
  std::vector<int> heap_;      // GPUs
  std::vector<int> position_;  // of each GPU in the heap
};

}  // namespace deepplan
