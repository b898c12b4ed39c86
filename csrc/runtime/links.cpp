#include "runtime/links.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "core/error.h"
#include "runtime/weight_layout.h"

namespace deepplan {

struct Links::Slot {
  std::unique_ptr<DeviceMemory> memory;
  std::unique_ptr<Event> loaded;  // bytes are in it; of the device that brings them
  std::unique_ptr<Event> freed;   // and forwarded or decoded
};

struct Links::Ring {
  std::vector<Slot> slots;
  std::size_t next = 0;

  Slot& take() {
    Slot& slot = slots[next];
    next = (next + 1) % slots.size();
    return slot;
  }

  // `loading` brings the bytes, `freeing` takes them on.
  void add(std::unique_ptr<DeviceMemory> memory, Device& loading, Device& freeing) {
    slots.push_back({std::move(memory), loading.create_event(), freeing.create_event()});
  }
};

struct Links::Link {
  std::shared_ptr<Device> device;
  // Before the streams: their work ends first.
  Ring staging;  // on the helper
  Ring coded;    // on the target
  std::unique_ptr<Stream> load;
  std::unique_ptr<Stream> hop;     // null on link 0
  std::unique_ptr<Stream> decode;  // null until something coded travels here
};

namespace {

// A piece long enough that a copy's latency is small beside it, and short enough that decoding the last one is soon
// over. A helper's has to fit its staging buffers.
constexpr std::size_t kOwnCodedPieceBytes = std::size_t{16} << 20;
constexpr int kCodedSlots = 3;

void check_options(const LinksOptions& options) {
  if (options.slots < 1 || options.slot_bytes < 1) {
    throw InvalidArgument("a ring of " + std::to_string(options.slots) + " slots of " +
                          std::to_string(options.slot_bytes) + " bytes: both must be at least 1");
  }
}

}  // namespace

Links::Links(std::shared_ptr<Device> target, std::vector<std::shared_ptr<Device>> helpers, LinksOptions options)
    : target_(std::move(target)), options_(options) {
  check_options(options_);
  // Pieces then begin as well aligned as tensors do.
  options_.slot_bytes =
      (options_.slot_bytes + kTensorAlignmentBytes - 1) / kTensorAlignmentBytes * kTensorAlignmentBytes;
  std::set<DeviceId> seen = {target_->id()};
  auto own = std::make_unique<Link>();
  own->device = target_;
  own->load = target_->create_stream();
  idle_ = target_->create_stream();
  links_.push_back(std::move(own));
  for (auto& helper : helpers) {
    if (!seen.insert(helper->id()).second) {
      throw InvalidArgument(to_string(helper->id()) + " is named twice: every link needs a device of its own");
    }
    helper->enable_peer_access(*target_);
    auto link = std::make_unique<Link>();
    for (int slot = 0; slot < options_.slots; ++slot) {
      link->staging.add(helper->allocate(options_.slot_bytes), *helper, *helper);
    }
    link->load = helper->create_stream();
    link->hop = helper->create_stream();
    link->device = std::move(helper);
    links_.push_back(std::move(link));
  }
}

Links::~Links() {
  for (const auto& link : links_) {
    for (Stream* stream : {link->load.get(), link->hop.get(), link->decode.get(), idle_.get()}) {
      try {
        if (stream != nullptr) stream->synchronize();
      } catch (const Error&) {
        // The device failed: whoever used its results was told, and there is nothing left to wait for.
      }
    }
  }
}

Device& Links::device(int link) const { return *links_.at(static_cast<std::size_t>(link))->device; }

Stream& Links::load_stream(int link) const { return *links_.at(static_cast<std::size_t>(link))->load; }

Stream& Links::write_stream(int link) const {
  const Link& way = *links_.at(static_cast<std::size_t>(link));
  return way.hop ? *way.hop : *way.load;
}

void Links::send(int link, char* target_dst, const char* pinned_src, std::size_t bytes) {
  Link& way = *links_.at(static_cast<std::size_t>(link));
  if (!way.hop) {
    target_->copy_from_host(target_dst, pinned_src, bytes, *way.load);
    return;
  }
  if (bytes > options_.slot_bytes) {
    throw InvalidArgument("a piece of " + format_bytes(bytes) + " does not fit a staging buffer of " +
                          format_bytes(options_.slot_bytes));
  }
  if (bytes == 0) return;
  Slot& slot = way.staging.take();
  way.load->wait(*slot.freed);
  way.device->copy_from_host(slot.memory->data(), pinned_src, bytes, *way.load);
  way.load->record(*slot.loaded);
  way.hop->wait(*slot.loaded);
  way.device->copy_to_peer(*target_, target_dst, slot.memory->data(), bytes, *way.hop);
  way.hop->record(*slot.freed);
}

std::size_t Links::coded_piece_bytes(int link) const {
  return link == 0 ? kOwnCodedPieceBytes : std::min(options_.slot_bytes, kMostPieceBytes);
}

void Links::prepare_decoding(int link) {
  Link& way = *links_.at(static_cast<std::size_t>(link));
  if (way.decode) return;
  Ring ring;
  for (int slot = 0; slot < kCodedSlots; ++slot) {
    ring.add(target_->allocate(coded_piece_bytes(link)), *way.device, *target_);
  }
  way.coded = std::move(ring);
  way.decode = target_->create_stream();
}

Stream& Links::decode_stream(int link) const { return *links_.at(static_cast<std::size_t>(link))->decode; }

void Links::send_coded(int link, char* target_dst, std::size_t bytes, const char* pinned_src,
                       const std::optional<CodedPiece>& coding) {
  Link& way = *links_.at(static_cast<std::size_t>(link));
  Slot& slot = way.coded.take();
  Stream& arrival = write_stream(link);
  arrival.wait(*slot.freed);
  send(link, slot.memory->data(), pinned_src, coding ? coding->coded_bytes : bytes);
  arrival.record(*slot.loaded);
  way.decode->wait(*slot.loaded);
  if (coding) {
    target_->decode(target_dst, slot.memory->data(), *coding, *way.decode);
  } else {
    target_->copy_to_peer(*target_, target_dst, slot.memory->data(), bytes, *way.decode);
  }
  way.decode->record(*slot.freed);
}

}  // namespace deepplan
