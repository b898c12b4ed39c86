#include "core/host_device.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "core/error.h"
#include "core/host_stream.h"

namespace deepplan {
namespace {

constexpr std::size_t kMemoryAlignmentBytes = 4096;

class HostMemory final : public DeviceMemory {
 public:
  HostMemory(DeviceId device, std::size_t bytes, std::shared_ptr<std::atomic<std::size_t>> used_bytes)
      : device_(device),
        bytes_(bytes),
        data_(static_cast<char*>(
            ::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{kMemoryAlignmentBytes}))),
        used_bytes_(std::move(used_bytes)) {}
  ~HostMemory() override { used_bytes_->fetch_sub(bytes_); }
  char* data() const override { return data_.get(); }
  std::size_t size_bytes() const override { return bytes_; }
  DeviceId device() const override { return device_; }

 private:
  struct Free {
    void operator()(char* data) const noexcept { ::operator delete(data, std::align_val_t{kMemoryAlignmentBytes}); }
  };
  DeviceId device_;
  std::size_t bytes_;
  std::unique_ptr<char, Free> data_;
  std::shared_ptr<std::atomic<std::size_t>> used_bytes_;
};

HostStream& stream_of(DeviceId device, Stream& stream) {
  auto* host = dynamic_cast<HostStream*>(&stream);
  if (host == nullptr || host->device() != device) {
    throw InvalidArgument("work of " + to_string(device) + " was given to a stream of " + to_string(stream.device()));
  }
  return *host;
}

// A chunk is written when its time on the link is over, not before: bytes must not be there early.
HostQueue::Work copy_over(std::shared_ptr<HostLink> link, void* dst, const void* src, std::size_t bytes) {
  return [link = std::move(link), dst = static_cast<char*>(dst), src = static_cast<const char*>(src),
          bytes](HostLink::TimePoint ready) {
    return link->move(bytes, ready,
                      [=](std::size_t offset, std::size_t chunk) { std::memcpy(dst + offset, src + offset, chunk); });
  };
}

}  // namespace

HostDevice::HostDevice(int index, const HostDeviceSettings& settings)
    : id_{Backend::Host, index},
      from_host_(std::make_shared<HostLink>(settings.link_gbps, settings.link_latency_us)),
      to_host_(std::make_shared<HostLink>(settings.link_gbps, settings.link_latency_us)),
      memory_bytes_(settings.memory_bytes),
      used_bytes_(std::make_shared<std::atomic<std::size_t>>(0)) {}

std::unique_ptr<Stream> HostDevice::create_stream() {
  auto queue = std::make_shared<HostQueue>();
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(queues_, [](const auto& queue) { return queue.expired(); });
    queues_.push_back(queue);
  }
  return std::make_unique<QueuedHostStream>(id_, std::move(queue));
}

std::unique_ptr<Event> HostDevice::create_event(EventKind kind) { return std::make_unique<HostEvent>(id_, kind); }

std::unique_ptr<Stream> HostDevice::borrow_stream(void*) { return std::make_unique<InlineHostStream>(id_); }

std::unique_ptr<DeviceMemory> HostDevice::allocate(std::size_t bytes) {
  const auto refuse = [&](std::size_t used) {
    throw OutOfMemory(to_string(id_) + " cannot give " + format_bytes(bytes) + ": " +
                      format_bytes(memory_bytes_ - std::min(used, memory_bytes_)) + " free of " +
                      format_bytes(memory_bytes_));
  };
  const std::size_t before = used_bytes_->load();
  if (bytes > memory_bytes_) refuse(before);
  if (used_bytes_->fetch_add(bytes) > memory_bytes_ - bytes) {
    refuse(used_bytes_->fetch_sub(bytes) - bytes);
  }
  try {
    return std::make_unique<HostMemory>(id_, bytes, used_bytes_);
  } catch (const std::bad_alloc&) {
    refuse(used_bytes_->fetch_sub(bytes) - bytes);
  }
  return nullptr;
}

MemoryInfo HostDevice::memory_info() const {
  return {memory_bytes_ - std::min(used_bytes_->load(), memory_bytes_), memory_bytes_};
}

void HostDevice::copy_from_host(void* dst, const void* src, std::size_t bytes, Stream& stream) {
  HostStream& host = stream_of(id_, stream);
  if (bytes > 0) host.push(copy_over(from_host_, dst, src, bytes));
}

void HostDevice::copy_to_host(void* dst, const void* src, std::size_t bytes, Stream& stream) {
  HostStream& host = stream_of(id_, stream);
  if (bytes > 0) host.push(copy_over(to_host_, dst, src, bytes));
}

void HostDevice::copy_to_peer(Device& peer, void* dst, const void* src, std::size_t bytes, Stream& stream) {
  HostStream& host = stream_of(id_, stream);
  if (peer.id().backend != Backend::Host) {
    throw InvalidArgument(to_string(id_) + " has no way to " + to_string(peer.id()));
  }
  if (bytes == 0) return;
  host.push([dst, src, bytes](HostLink::TimePoint) {
    std::memcpy(dst, src, bytes);
    return HostLink::Clock::now();
  });
}

void HostDevice::fill(void* dst, unsigned char byte, std::size_t bytes, Stream& stream) {
  HostStream& host = stream_of(id_, stream);
  if (bytes == 0) return;
  host.push([dst, byte, bytes](HostLink::TimePoint) {
    std::memset(dst, byte, bytes);
    return HostLink::Clock::now();
  });
}

void HostDevice::decode(void* plain, const void* coded, const CodedPiece& piece, Stream& stream) {
  HostStream& host = stream_of(id_, stream);
  check_decoding(piece, coded, plain);
  if (piece.plain_bytes == 0) return;
  host.push([plain = static_cast<char*>(plain), coded = static_cast<const char*>(coded), piece](HostLink::TimePoint) {
    try {
      decode_weights(piece, coded, plain);
    } catch (const InvalidArgument&) {
      // The caller is gone, as with a GPU. Weights that are not numbers are noticed, half of them right may not be.
      std::memset(plain, 0xff, piece.plain_bytes);
    }
    return HostLink::Clock::now();
  });
}

void HostDevice::charge_in_place_read(std::size_t bytes) {
  if (bytes > 0) from_host_->move(bytes, HostLink::Clock::now(), [](std::size_t, std::size_t) {});
}

std::unique_ptr<LaunchGraph> HostDevice::instantiate(void*, const ShiftedCapture*) {
  throw InvalidArgument(to_string(id_) + " launches work call by call: nothing of it can be captured");
}

PeerLink HostDevice::peer_link(const Device& peer) const {
  return {.access = peer.id().backend == Backend::Host, .native_atomics = false};
}

void HostDevice::enable_peer_access(Device& peer) {
  if (!can_access_peer(peer)) {
    throw DeviceError(to_string(id_) + " cannot access " + to_string(peer.id()) + ": they are of different backends");
  }
}

void HostDevice::synchronize() {
  std::vector<std::shared_ptr<HostPoint>> points;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& weak : queues_) {
      if (const auto queue = weak.lock()) points.push_back(queue->mark());
    }
  }
  for (const auto& point : points) point->wait();
}

}  // namespace deepplan
