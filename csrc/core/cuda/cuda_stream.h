#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/cuda/cuda_check.h"
#include "core/device.h"

namespace deepplan {

class CudaEvent final : public Event {
 public:
  CudaEvent(int device, EventKind kind);
  DeviceId device() const override { return {Backend::Cuda, device_}; }
  bool query() const override;
  void synchronize() const override;
  double elapsed_ms_since(const Event& earlier) const override;
  EventKind kind() const { return kind_; }
  cudaEvent_t handle() const { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const noexcept { (void)cudaEventDestroy(event); }
  };
  int device_;
  EventKind kind_;
  std::unique_ptr<CUevent_st, Destroy> handle_;
};

// A stream of one CUDA device, owned or borrowed. Owned ones do not wait for the default stream, nor it for them.
class CudaStream final : public Stream {
 public:
  // Makes a new one.
  explicit CudaStream(int device);
  // Borrows the caller's.
  CudaStream(int device, cudaStream_t borrowed) : device_(device), handle_(borrowed) {}
  DeviceId device() const override { return {Backend::Cuda, device_}; }
  void wait(const Event& event) override;
  void cut(const Event& mark) override;
  void record(Event& event) override;
  void synchronize() override;
  void* native() const override { return handle_; }

  // Null and its siblings mean "the default stream of whichever device is current": then ours must be.
  CudaDeviceGuard current_for_default_stream() const;

 private:
  bool is_captured() const;

  struct Destroy {
    void operator()(cudaStream_t stream) const noexcept { (void)cudaStreamDestroy(stream); }
  };
  int device_;
  std::unique_ptr<CUstream_st, Destroy> owned_;
  cudaStream_t handle_ = nullptr;
};

}  // namespace deepplan
