#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/host_link.h"
#include "core/host_queue.h"

namespace deepplan {

// The host standing in for a device: ordinary memory, streams that are threads, and a link that costs time. Whatever a
// GPU would have to wait for must be waited for here too, or bytes are read before they arrive, which tests and the
// thread sanitizer see.
class HostDevice final : public Device {
 public:
  HostDevice(int index, const HostDeviceSettings& settings);

  DeviceId id() const override { return id_; }
  std::string name() const override { return "host device " + std::to_string(id_.index); }
  std::unique_ptr<Stream> create_stream() override;
  std::unique_ptr<Event> create_event(EventKind kind) override;
  std::unique_ptr<Stream> borrow_stream(void* native) override;
  std::unique_ptr<DeviceMemory> allocate(std::size_t bytes) override;
  MemoryInfo memory_info() const override;
  void copy_from_host(void* dst, const void* src, std::size_t bytes, Stream& stream) override;
  void copy_to_host(void* dst, const void* src, std::size_t bytes, Stream& stream) override;
  void copy_to_peer(Device& peer, void* dst, const void* src, std::size_t bytes, Stream& stream) override;
  void fill(void* dst, unsigned char byte, std::size_t bytes, Stream& stream) override;
  bool can_decode() const override { return true; }
  void decode(void* plain, const void* coded, const CodedPiece& piece, Stream& stream) override;
  const void* in_place_address(const void* pinned) const override { return pinned; }
  void charge_in_place_read(std::size_t bytes) override;
  std::unique_ptr<LaunchGraph> instantiate(void* captured, const ShiftedCapture* again) override;
  PeerLink peer_link(const Device& peer) const override;
  void enable_peer_access(Device& peer) override;
  std::string pci_bus_id() const override { return {}; }
  void synchronize() override;

 private:
  DeviceId id_;
  std::shared_ptr<HostLink> from_host_;  // shared with the work that uses them
  std::shared_ptr<HostLink> to_host_;    // PCIe carries both directions at once
  std::size_t memory_bytes_;
  std::shared_ptr<std::atomic<std::size_t>> used_bytes_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<HostQueue>> queues_;  // for synchronize()
};

}  // namespace deepplan
