#include "serving/gpu_order.h"

#include <limits>
#include <numeric>

namespace deepplan {

GpuOrder::GpuOrder(int gpus) : time_ms_(gpus, -std::numeric_limits<double>::infinity()), heap_(gpus), position_(gpus) {
  std::iota(heap_.begin(), heap_.end(), 0);
  std::iota(position_.begin(), position_.end(), 0);
}

void GpuOrder::set(int gpu, double time_ms) {
  time_ms_[gpu] = time_ms;
  sift_up(position_[gpu]);
  sift_down(position_[gpu]);
}

void GpuOrder::place(int gpu, int position) {
  heap_[position] = gpu;
  position_[gpu] = position;
}

void GpuOrder::sift_up(int position) {
  const int gpu = heap_[position];
  for (int parent; position > 0 && before(gpu, heap_[parent = (position - 1) / 2]); position = parent) {
    place(heap_[parent], position);
  }
  place(gpu, position);
}

void GpuOrder::sift_down(int position) {
  const int gpu = heap_[position];
  const int size = static_cast<int>(heap_.size());
  for (int child; (child = 2 * position + 1) < size; position = child) {
    if (child + 1 < size && before(heap_[child + 1], heap_[child])) ++child;
    if (!before(heap_[child], gpu)) break;
    place(heap_[child], position);
  }
  place(gpu, position);
}

}  // namespace deepplan
