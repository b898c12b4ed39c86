#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/device_id.h"
#include "core/weight_code.h"

namespace deepplan {

// A point in a stream's order. Recording again replaces the point; whoever waited before keeps waiting for the old one.
// An event that was never recorded counts as reached: query() is true, every wait on it returns at once.
class Event {
 public:
  virtual ~Event() = default;
  virtual DeviceId device() const = 0;
  // Whether the last recorded point was reached.
  virtual bool query() const = 0;
  // Blocks the calling thread until the last recorded point was reached.
  virtual void synchronize() const = 0;
  // Milliseconds from `earlier` to this one. Both must be timed, recorded, reached, and of one device
  // (InvalidArgument otherwise).
  virtual double elapsed_ms_since(const Event& earlier) const = 0;
};

// Work in order. Every call returns before its work is done, except on a borrowed host stream (Device::borrow_stream).
// Destroying a stream lets the work given to it run to its end; memory that work uses must outlive it.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual DeviceId device() const = 0;
  // Work given after this starts only when the point last recorded in `event` was reached. The event may belong to
  // another device of the same backend. No-op when it was never recorded: record first, then wait.
  virtual void wait(const Event& event) = 0;
  // While this stream is being captured: what follows becomes the next part of the graph (LaunchGraph). A no-op
  // otherwise. `mark` is any event that lives until the graph is instantiated, and stays as it is.
  virtual void cut(const Event& mark) = 0;
  // Puts `event`, which must belong to this stream's device, behind all work given so far. While the stream is being
  // captured, a timed event becomes part of the graph and carries the time of each launch.
  virtual void record(Event& event) = 0;
  // Blocks the calling thread until all work given so far is done.
  virtual void synchronize() = 0;
  // CUDA: the cudaStream_t. Host: nullptr.
  virtual void* native() const = 0;
};

// Owns a range of device memory. The destructor frees it at once: work that uses it must be done by then
// (CUDA waits for it, the host device does not).
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  virtual char* data() const = 0;
  virtual std::size_t size_bytes() const = 0;
  virtual DeviceId device() const = 0;
};

// Work that was captured once, and is launched by one call for each part that Stream::cut() made of it: in between the
// caller may have a stream wait for what no graph can wait for. Launches of one graph must not overlap, and its parts
// follow each other: order them on one stream, or with events.
class LaunchGraph {
 public:
  virtual ~LaunchGraph() = default;
  virtual int part_count() const = 0;
  // Starts when the work given to `stream` before is done; work given to it afterwards waits for all of the part.
  virtual void launch(int part, Stream& stream) = 0;
  // How many spans of memory its launches can be made to find elsewhere (ShiftedCapture).
  virtual std::size_t span_count() const = 0;
  // From now on the spans begin at these addresses, aligned as they were. Launches under way go on with the old ones.
  // InvalidArgument for another number of them.
  virtual void move_to(const std::vector<const char*>& begins) = 0;
};

// Memory that captured work uses, and that may lie elsewhere when it is launched.
struct MovableSpan {
  const char* begin = nullptr;
  std::size_t size_bytes = 0;
};

// The same work, captured a second time with every address in spans[i] shifted up by shift_bytes(i). Nothing was run
// then, so that nothing need be there. What differs between the captures by just that is an address in the span,
// wherever the work keeps it.
struct ShiftedCapture {
  void* captured = nullptr;
  std::vector<MovableSpan> spans;
  // A multiple of what anybody aligns weights to; odd enough not to be what other memory moved by meanwhile.
  static constexpr std::ptrdiff_t shift_bytes(std::size_t span) {
    return 512 * (37 + 16 * static_cast<std::ptrdiff_t>(span));
  }
};

struct MemoryInfo {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
};

// How one device reaches another's memory.
struct PeerLink {
  bool access = false;          // copies and loads go straight to the peer
  bool native_atomics = false;  // the link carries atomics: NVLink or the like, not plain PCIe
};

// Events used to order work are cheaper than those that also carry a time.
enum class EventKind { Ordering, Timed };

// One device behind one interface: CUDA, or the host standing in for one. Every method may be called from any thread
// and leaves the calling thread's current CUDA device as it was. Everything a device made must be destroyed before
// its last owner lets go of it.
class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceId id() const = 0;
  virtual std::string name() const = 0;

  virtual std::unique_ptr<Stream> create_stream() = 0;
  virtual std::unique_ptr<Event> create_event(EventKind kind = EventKind::Ordering) = 0;
  // A view of the caller's stream, which must outlive it. CUDA: `native` is a cudaStream_t (null is the default
  // stream). Host: `native` is ignored; work runs inline on the calling thread, wait() blocks it, record() completes
  // at once. Host operators that run on the calling thread are thereby ordered like kernels on that stream.
  virtual std::unique_ptr<Stream> borrow_stream(void* native) = 0;

  // At least 512-byte aligned, contents undefined. OutOfMemory with the numbers when it does not fit. 0 bytes is legal.
  virtual std::unique_ptr<DeviceMemory> allocate(std::size_t bytes) = 0;
  virtual MemoryInfo memory_info() const = 0;

  // The copies below are ordered on `stream`, which must be this device's. 0 bytes is a no-op.
  // The source should be pinned: CUDA makes the call wait otherwise. It must stay as it is until the copy is done.
  virtual void copy_from_host(void* dst, const void* src, std::size_t bytes, Stream& stream) = 0;
  virtual void copy_to_host(void* dst, const void* src, std::size_t bytes, Stream& stream) = 0;
  // From this device's memory into the peer's (which may be this device), over peer access when it is enabled.
  // Costs nothing on a host device's link.
  virtual void copy_to_peer(Device& peer, void* dst, const void* src, std::size_t bytes, Stream& stream) = 0;
  virtual void fill(void* dst, unsigned char byte, std::size_t bytes, Stream& stream) = 0;

  // Whether decode() works. CUDA: where this build has kernels for this GPU; asking also loads them, without which the
  // first decode() would be slow. The host can.
  virtual bool can_decode() const = 0;
  // Turns coded weights into plain ones, both in this device's memory, aligned to 16 bytes and apart; ordered on
  // `stream`, which must be this device's. Leaves most of the device to what runs beside it. Coded bytes that no
  // encoder gave leave the weights undefined, without an error. No plain bytes is a no-op. InvalidArgument for sizes
  // that check_piece refuses, DeviceError with the remedy where can_decode() is false.
  virtual void decode(void* plain, const void* coded, const CodedPiece& piece, Stream& stream) = 0;

  // The address through which this device reads `pinned` (memory of a PinnedArena) in place.
  virtual const void* in_place_address(const void* pinned) const = 0;
  // Waits on the calling thread as long as reading so many bytes in place takes on this device's link. CUDA: no-op, the
  // hardware charges. Host: one latency plus the bytes, out of the budget that copies use. 0 bytes is a no-op.
  virtual void charge_in_place_read(std::size_t bytes) = 0;

  // Makes captured work ready to be launched on this device's streams, and able to move if there is a second capture.
  // CUDA: `captured` is a cudaGraph_t, as is that of `again`; they stay the caller's and are not needed afterwards.
  // InvalidArgument on a host device, whose work cannot be captured. DeviceError where the captures do not match.
  virtual std::unique_ptr<LaunchGraph> instantiate(void* captured, const ShiftedCapture* again) = 0;

  virtual PeerLink peer_link(const Device& peer) const = 0;
  bool can_access_peer(const Device& peer) const { return peer_link(peer).access; }
  // Lets this device read and write the peer's memory. Enabled already, or the device itself: no-op. DeviceError naming
  // the pair when the hardware cannot.
  virtual void enable_peer_access(Device& peer) = 0;
  // "0000:1b:00.0" in lower case; empty where there is none.
  virtual std::string pci_bus_id() const = 0;

  // Blocks the calling thread until all work of this device is done.
  virtual void synchronize() = 0;
};

// How many devices of a backend there are. CUDA counts 0 in a build without CUDA and on a machine without a driver or
// GPU; never throws for that.
int device_count(Backend backend);
// Why device_count(backend) is 0, in words; empty when it is not.
std::string unavailable_reason(Backend backend);

// The device with this id; the same object while anyone holds it. InvalidArgument, saying how many there are, for an
// index out of range.
std::shared_ptr<Device> open_device(DeviceId id);

// What the host devices pretend to be.
struct HostDeviceSettings {
  int count = 4;
  double link_gbps = 4.0;         // 10^9 bytes a second, each device's own
  double link_latency_us = 10.0;  // once a copy or in-place read
  std::size_t memory_bytes = std::size_t{16} << 30;
};

// For devices opened from now on; those that are open stay as they are, and are no longer handed out by open_device.
// InvalidArgument for a count below 1, a rate not above 0, a negative latency or no memory.
void set_host_devices(const HostDeviceSettings& settings);
HostDeviceSettings host_device_settings();

}  // namespace deepplan
