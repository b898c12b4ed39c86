#pragma once

#include <vector>

namespace deepplan {

// GPUs by the time at which each becomes free: a binary heap that knows where each GPU stands, so that a change costs
// O(log n) and no allocation.
class GpuOrder {
 public:
  explicit GpuOrder(int gpus);

  // The GPU with the least time, the lowest-numbered of equals.
  int earliest() const { return heap_.front(); }
  void set(int gpu, double free_ms);

 private:
  bool before(int a, int b) const { return free_ms_[a] < free_ms_[b] || (free_ms_[a] == free_ms_[b] && a < b); }
  void place(int gpu, int position);
  void sift_up(int position);
  void sift_down(int position);

  std::vector<double> free_ms_;
  std::vector<int> heap_;      // GPUs
  std::vector<int> position_;  // of each GPU in the heap
};

}  // namespace deepplan
