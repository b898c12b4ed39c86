#include "core/cuda/cuda_device.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "core/cuda/cuda_check.h"
#include "core/cuda/cuda_decode.h"
#include "core/cuda/cuda_graph.h"
#include "core/cuda/cuda_stream.h"
#include "core/error.h"

namespace deepplan {
namespace {

class CudaMemory final : public DeviceMemory {
 public:
  CudaMemory(DeviceId device, std::size_t bytes) : device_(device), bytes_(bytes) {
    const CudaDeviceGuard guard(device.index);
    void* data = nullptr;
    check_cuda(cudaMalloc(&data, std::max<std::size_t>(bytes, 1)), "cudaMalloc");
    data_.reset(static_cast<char*>(data));
  }
  char* data() const override { return data_.get(); }
  std::size_t size_bytes() const override { return bytes_; }
  DeviceId device() const override { return device_; }

 private:
  struct Free {
    void operator()(char* data) const noexcept { (void)cudaFree(data); }
  };
  DeviceId device_;
  std::size_t bytes_;
  std::unique_ptr<char, Free> data_;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index) : id_{Backend::Cuda, index} {
    cudaDeviceProp properties{};
    check_cuda(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
    name_ = properties.name;
    decode_thread_blocks_ = std::max(1, properties.multiProcessorCount / 2);
  }

  DeviceId id() const override { return id_; }
  std::string name() const override { return name_; }
  std::unique_ptr<Stream> create_stream() override { return std::make_unique<CudaStream>(id_.index); }
  std::unique_ptr<Event> create_event(EventKind kind) override { return std::make_unique<CudaEvent>(id_.index, kind); }
  std::unique_ptr<Stream> borrow_stream(void* native) override {
    return std::make_unique<CudaStream>(id_.index, static_cast<cudaStream_t>(native));
  }

  std::unique_ptr<DeviceMemory> allocate(std::size_t bytes) override {
    try {
      return std::make_unique<CudaMemory>(id_, bytes);
    } catch (const OutOfMemory&) {
      const MemoryInfo info = memory_info();
      throw OutOfMemory(to_string(id_) + " cannot give " + format_bytes(bytes) + ": " + format_bytes(info.free_bytes) +
                        " free of " + format_bytes(info.total_bytes));
    }
  }

  MemoryInfo memory_info() const override {
    const CudaDeviceGuard guard(id_.index);
    MemoryInfo info;
    check_cuda(cudaMemGetInfo(&info.free_bytes, &info.total_bytes), "cudaMemGetInfo");
    return info;
  }

  void copy_from_host(void* dst, const void* src, std::size_t bytes, Stream& stream) override {
    copy(dst, src, bytes, cudaMemcpyHostToDevice, stream);
  }
  void copy_to_host(void* dst, const void* src, std::size_t bytes, Stream& stream) override {
    copy(dst, src, bytes, cudaMemcpyDeviceToHost, stream);
  }
  void copy_to_peer(Device& peer, void* dst, const void* src, std::size_t bytes, Stream& stream) override {
    if (peer.id().backend != Backend::Cuda) {
      throw InvalidArgument(to_string(id_) + " has no way to " + to_string(peer.id()));
    }
    copy(dst, src, bytes, cudaMemcpyDefault, stream);
  }
  void fill(void* dst, unsigned char byte, std::size_t bytes, Stream& stream) override {
    const CudaStream& cuda = own(stream);
    if (bytes == 0) return;
    const CudaDeviceGuard guard(id_.index);  // unlike a copy, it must be the stream's device that is current
    check_cuda(cudaMemsetAsync(dst, byte, bytes, handle(cuda)), "cudaMemsetAsync");
  }

  bool can_decode() const override { return cuda_can_decode(id_); }
  void decode(void* plain, const void* coded, const CodedPiece& piece, Stream& stream) override {
    cuda_decode(id_, plain, coded, piece, decode_thread_blocks_, handle(own(stream)));
  }

  const void* in_place_address(const void* pinned) const override {
    const CudaDeviceGuard guard(id_.index);
    void* address = nullptr;
    check_cuda(cudaHostGetDevicePointer(&address, const_cast<void*>(pinned), 0), "cudaHostGetDevicePointer");
    return address;
  }
  void charge_in_place_read(std::size_t) override {}

  std::unique_ptr<LaunchGraph> instantiate(void* captured, const ShiftedCapture* again) override {
    return std::make_unique<CudaGraph>(id_.index, static_cast<cudaGraph_t>(captured), again);
  }

  PeerLink peer_link(const Device& peer) const override;
  void enable_peer_access(Device& peer) override;
  std::string pci_bus_id() const override;
  void synchronize() override {
    const CudaDeviceGuard guard(id_.index);
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }

 private:
  static cudaStream_t handle(const CudaStream& stream) { return static_cast<cudaStream_t>(stream.native()); }

  const CudaStream& own(const Stream& stream) const {
    const auto* cuda = dynamic_cast<const CudaStream*>(&stream);
    if (cuda == nullptr || cuda->device() != id_) {
      throw InvalidArgument("work of " + to_string(id_) + " was given to a stream of " + to_string(stream.device()));
    }
    return *cuda;
  }

  void copy(void* dst, const void* src, std::size_t bytes, cudaMemcpyKind kind, const Stream& stream) const {
    const CudaStream& cuda = own(stream);
    if (bytes == 0) return;
    const auto guard = cuda.current_for_default_stream();
    check_cuda(cudaMemcpyAsync(dst, src, bytes, kind, handle(cuda)), "cudaMemcpyAsync");
  }

  DeviceId id_;
  std::string name_;
  // Half of the multiprocessors: enough to keep up with several links, and the layers that run meanwhile keep the rest.
  int decode_thread_blocks_ = 1;
};

PeerLink CudaDevice::peer_link(const Device& peer) const {
  if (peer.id() == id_) return {.access = true};
  if (peer.id().backend != Backend::Cuda) return {};
  const int to = peer.id().index;
  int access = 0;
  check_cuda(cudaDeviceCanAccessPeer(&access, id_.index, to), "cudaDeviceCanAccessPeer");
  int atomics = 0;
  check_cuda(cudaDeviceGetP2PAttribute(&atomics, cudaDevP2PAttrNativeAtomicSupported, id_.index, to),
             "cudaDeviceGetP2PAttribute");
  return {.access = access != 0, .native_atomics = atomics != 0};
}

void CudaDevice::enable_peer_access(Device& peer) {
  if (peer.id() == id_) return;
  if (!can_access_peer(peer)) {
    throw DeviceError(to_string(id_) + " cannot access the memory of " + to_string(peer.id()) +
                      ": the hardware or the virtual machine does not connect them");
  }
  const CudaDeviceGuard guard(id_.index);
  const cudaError_t status = cudaDeviceEnablePeerAccess(peer.id().index, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    (void)cudaGetLastError();
    return;
  }
  check_cuda(status, "cudaDeviceEnablePeerAccess");
}

std::string CudaDevice::pci_bus_id() const {
  std::array<char, 32> text{};
  check_cuda(cudaDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), id_.index), "cudaDeviceGetPCIBusId");
  std::string id = text.data();
  std::transform(id.begin(), id.end(), id.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return id;
}

}  // namespace

int cuda_device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
}

std::string cuda_unavailable_reason() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count > 0 ? "" : "the CUDA driver sees no GPU";
  (void)cudaGetLastError();
  return cudaGetErrorString(status);
}

std::shared_ptr<Device> make_cuda_device(int index) { return std::make_shared<CudaDevice>(index); }

}  // namespace deepplan
