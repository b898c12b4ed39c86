#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "core/device.h"
#include "core/weight_code.h"

namespace deepplan {

struct LinksOptions {
  int slots = 4;                                  // staging buffers of each helper
  std::size_t slot_bytes = std::size_t{8} << 20;  // a group travels over a helper in pieces of at most this
};

// The ways from host memory into one target device. Link 0 is the target's own; link k > 0 is helper k-1's link, whose
// pieces are staged in a ring of buffers there and forwarded by peer copies.
// Separate load and hop streams and a ring keep the helper's link busy while pieces are forwarded.
// Coded pieces arrive in a ring of buffers on the target, one for each link, and a stream beside it decodes them.
// Used by one thread at a time; may be shared by the loaders of several models.
class Links {
 public:
  // Enables peer access between each helper and the target. DeviceError naming the pair when it is impossible,
  // InvalidArgument for a device named twice, OutOfMemory when a ring does not fit.
  Links(std::shared_ptr<Device> target, std::vector<std::shared_ptr<Device>> helpers, LinksOptions options = {});
  // Waits for everything sent.
  ~Links();
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  int count() const { return static_cast<int>(links_.size()); }
  Device& target() const { return *target_; }
  // The device whose link this is.
  Device& device(int link) const;
  std::size_t slot_bytes() const { return options_.slot_bytes; }

  // The stream on which this link reads host memory.
  Stream& load_stream(int link) const;
  // The stream on which this link writes into the target: the load stream of link 0, a helper's hop stream.
  Stream& write_stream(int link) const;

  // Link 0's stream for copies that nobody waits for yet.
  Stream& idle_stream() const { return *idle_; }

  // The largest coded piece, in plain bytes, that a link takes.
  std::size_t coded_piece_bytes(int link) const;
  // Makes the ring and the stream for coded pieces, unless they are there. OutOfMemory when the ring does not fit.
  void prepare_decoding(int link);
  // The target's stream on which this link's pieces are decoded; there after prepare_decoding.
  Stream& decode_stream(int link) const;
  // Puts one piece of a coded group on the way, decoded if it has a coding and copied on otherwise. Arrived when the
  // decode stream's work is done. `bytes` are plain.
  void send_coded(int link, char* target_dst, std::size_t bytes, const char* pinned_src,
                  const std::optional<CodedPiece>& coding);

  // Puts one copy of host memory into the target on the way. At most slot_bytes on a helper. Arrived when the write
  // stream's work is done; order on one link is the order of the calls.
  void send(int link, char* target_dst, const char* pinned_src, std::size_t bytes);

 private:
  struct Slot;
  struct Ring;
  struct Link;
  std::shared_ptr<Device> target_;
  LinksOptions options_;
  std::vector<std::unique_ptr<Link>> links_;
  std::unique_ptr<Stream> idle_;
};

}  // namespace deepplan
