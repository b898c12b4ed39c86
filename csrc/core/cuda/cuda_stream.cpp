#include "core/cuda/cuda_stream.h"

#include "core/error.h"

namespace deepplan {
namespace {

const CudaEvent& as_cuda_event(const Event& event) {
  const auto* cuda = dynamic_cast<const CudaEvent*>(&event);
  if (cuda == nullptr) throw InvalidArgument("an event of " + to_string(event.device()) + " means nothing to CUDA");
  return *cuda;
}

}  // namespace

CudaEvent::CudaEvent(int device, EventKind kind) : device_(device), kind_(kind) {
  const CudaDeviceGuard guard(device);
  cudaEvent_t event = nullptr;
  const unsigned flags = kind == EventKind::Timed ? cudaEventDefault : cudaEventDisableTiming;
  check_cuda(cudaEventCreateWithFlags(&event, flags), "cudaEventCreateWithFlags");
  handle_.reset(event);
}

bool CudaEvent::query() const {
  const cudaError_t status = cudaEventQuery(handle_.get());
  if (status == cudaErrorNotReady) {
    (void)cudaGetLastError();
    return false;
  }
  check_cuda(status, "cudaEventQuery");
  return true;
}

void CudaEvent::synchronize() const { check_cuda(cudaEventSynchronize(handle_.get()), "cudaEventSynchronize"); }

double CudaEvent::elapsed_ms_since(const Event& earlier) const {
  const CudaEvent& from = as_cuda_event(earlier);
  if (from.device_ != device_) {
    throw InvalidArgument("no time between events of " + to_string(from.device()) + " and " + to_string(device()));
  }
  if (kind_ != EventKind::Timed || from.kind_ != EventKind::Timed) {
    throw InvalidArgument("the event was not made to carry a time");
  }
  float ms = 0;
  const cudaError_t status = cudaEventElapsedTime(&ms, from.handle_.get(), handle_.get());
  // What CUDA answers for an event that was never recorded, or not reached yet.
  if (status == cudaErrorInvalidResourceHandle || status == cudaErrorNotReady) {
    (void)cudaGetLastError();
    throw InvalidArgument("the event was not recorded, or not reached yet");
  }
  check_cuda(status, "cudaEventElapsedTime");
  return ms;
}

CudaStream::CudaStream(int device) : device_(device) {
  const CudaDeviceGuard guard(device);
  check_cuda(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  owned_.reset(handle_);
}

CudaDeviceGuard CudaStream::current_for_default_stream() const {
  const bool is_default = handle_ == nullptr || handle_ == cudaStreamLegacy || handle_ == cudaStreamPerThread;
  return is_default ? CudaDeviceGuard(device_) : CudaDeviceGuard();
}

void CudaStream::wait(const Event& event) {
  const CudaEvent& cuda = as_cuda_event(event);
  const auto guard = current_for_default_stream();
  check_cuda(cudaStreamWaitEvent(handle_, cuda.handle(), 0), "cudaStreamWaitEvent");
}

void CudaStream::cut(const Event& mark) {
  const CudaEvent& cuda = as_cuda_event(mark);
  if (!is_captured()) return;
  // The node that no other captured call leaves behind: CudaGraph looks for it.
  check_cuda(cudaStreamWaitEvent(handle_, cuda.handle(), cudaEventWaitExternal), "cudaStreamWaitEvent");
}

void CudaStream::record(Event& event) {
  const CudaEvent& cuda = as_cuda_event(event);
  if (cuda.device() != device()) {
    throw InvalidArgument("a stream of " + to_string(device()) + " cannot record an event of " +
                          to_string(cuda.device()));
  }
  const auto guard = current_for_default_stream();
  // Captured like any other, an event only orders work: it has no time, and nobody outside the graph can ask for it.
  const bool becomes_node = cuda.kind() == EventKind::Timed && is_captured();
  check_cuda(cudaEventRecordWithFlags(cuda.handle(), handle_, becomes_node ? cudaEventRecordExternal : 0),
             "cudaEventRecordWithFlags");
}

bool CudaStream::is_captured() const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(handle_, &status), "cudaStreamIsCapturing");
  return status == cudaStreamCaptureStatusActive;
}

void CudaStream::synchronize() {
  const auto guard = current_for_default_stream();
  check_cuda(cudaStreamSynchronize(handle_), "cudaStreamSynchronize");
}

}  // namespace deepplan
