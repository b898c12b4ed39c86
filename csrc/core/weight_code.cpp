#include "core/weight_code.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/weight_block.h"

namespace deepplan {
namespace {

void check_plain(WeightFormat format, std::size_t plain_bytes) {
  if (plain_bytes % weight_bytes(format) != 0) {
    throw InvalidArgument(std::to_string(plain_bytes) + " bytes are no whole number of weights of " +
                          std::to_string(weight_bytes(format)) + " bytes");
  }
  if (plain_bytes > kMostPieceBytes) {
    throw InvalidArgument(format_bytes(plain_bytes) + " of weights in one coded piece: at most " +
                          format_bytes(kMostPieceBytes) + ", use several");
  }
}

// Calls one(block, plain, bytes) for every block of a range, where `bytes` is less than a block's only for the last.
template <WeightFormat format, typename Plain, typename One>
void for_each_block(Plain plain, std::size_t plain_bytes, const One& one) {
  constexpr std::size_t kBlockBytes = BlockLayout<format>::kBlockBytes;
  for (std::size_t block = 0; block * kBlockBytes < plain_bytes; ++block) {
    one(block, plain + block * kBlockBytes, std::min(kBlockBytes, plain_bytes - block * kBlockBytes));
  }
}

template <WeightFormat format>
std::size_t encode(std::span<const char> plain, char* coded) {
  const PieceLayout layout = piece_layout(format, plain.size());
  std::memset(coded + layout.headers_at, 0, layout.escapes_at - layout.headers_at);
  std::size_t escapes = 0;
  for_each_block<format>(plain.data(), plain.size(), [&](std::size_t block, const char* weights, std::size_t bytes) {
    std::array<char, BlockLayout<format>::kBlockBytes> padded{};
    if (bytes < padded.size()) weights = static_cast<const char*>(std::memcpy(padded.data(), weights, bytes));
    const BlockSummary summary = encode_block<format>(weights, coded + block * BlockLayout<format>::kBodyBytes,
                                                      coded + layout.escapes_at + escapes);
    const auto header = static_cast<std::uint32_t>(escapes << 8 | summary.base);
    std::memcpy(coded + layout.headers_at + block * sizeof header, &header, sizeof header);
    escapes += summary.escapes;
  });
  const std::size_t end = layout.escapes_at + escapes;
  std::memset(coded + end, 0, padded_to_vectors(end) - end);
  return padded_to_vectors(end);
}

template <WeightFormat format>
void decode(const CodedPiece& piece, const char* coded, char* plain) {
  const PieceLayout layout = piece_layout(format, piece.plain_bytes);
  const std::span escapes(coded + layout.escapes_at, piece.coded_bytes - layout.escapes_at);
  for_each_block<format>(plain, piece.plain_bytes, [&](std::size_t block, char* weights, std::size_t bytes) {
    std::uint32_t header = 0;
    std::memcpy(&header, coded + layout.headers_at + block * sizeof header, sizeof header);
    const std::size_t first = header >> 8;
    std::array<char, BlockLayout<format>::kBlockBytes> whole;
    char* const to = bytes < whole.size() ? whole.data() : weights;
    if (first > escapes.size() ||
        !decode_block<format>(coded + block * BlockLayout<format>::kBodyBytes, static_cast<std::uint8_t>(header),
                              escapes.subspan(first), to)) {
      throw InvalidArgument("coded weights are damaged: block " + std::to_string(block) + " needs escapes from byte " +
                            std::to_string(first) + " on, beyond the " + std::to_string(escapes.size()) +
                            " bytes there are. Code them again");
    }
    if (to != weights) std::memcpy(weights, to, bytes);
  });
}

}  // namespace

void check_piece(const CodedPiece& piece) {
  check_plain(piece.format, piece.plain_bytes);
  const std::size_t least = piece_layout(piece.format, piece.plain_bytes).escapes_at;
  const std::size_t most = most_coded_bytes(piece.format, piece.plain_bytes);
  if (piece.coded_bytes < least || piece.coded_bytes > most) {
    throw InvalidArgument(std::to_string(piece.plain_bytes) + " bytes of weights coded in " +
                          std::to_string(piece.coded_bytes) + ": it takes " + std::to_string(least) + " to " +
                          std::to_string(most));
  }
}

void check_decoding(const CodedPiece& piece, const void* coded, const void* plain) {
  check_piece(piece);
  for (const void* address : {coded, plain}) {
    if (reinterpret_cast<std::uintptr_t>(address) % kVectorBytes != 0) {
      throw InvalidArgument("weights cannot be decoded " + std::string(address == coded ? "from" : "to") +
                            " an address that is no multiple of " + std::to_string(kVectorBytes));
    }
  }
}

std::size_t most_coded_bytes(WeightFormat format, std::size_t plain_bytes) {
  const PieceLayout layout = piece_layout(format, plain_bytes);
  return layout.escapes_at + layout.blocks * kWeightsPerBlock;
}

std::size_t encode_weights(WeightFormat format, std::span<const char> plain, std::span<char> coded) {
  check_plain(format, plain.size());
  if (coded.size() < most_coded_bytes(format, plain.size())) {
    throw InvalidArgument(std::to_string(coded.size()) + " bytes to code " + std::to_string(plain.size()) +
                          " in: it may take " + std::to_string(most_coded_bytes(format, plain.size())));
  }
  if (plain.empty()) return 0;
  switch (format) {
    case WeightFormat::BFloat16:
      return encode<WeightFormat::BFloat16>(plain, coded.data());
    case WeightFormat::Float16:
      return encode<WeightFormat::Float16>(plain, coded.data());
    case WeightFormat::Float32:
      return encode<WeightFormat::Float32>(plain, coded.data());
  }
  throw InvalidArgument("there is no weight format " + std::to_string(static_cast<int>(format)));
}

void decode_weights(const CodedPiece& piece, const char* coded, char* plain) {
  check_piece(piece);
  switch (piece.format) {
    case WeightFormat::BFloat16:
      return decode<WeightFormat::BFloat16>(piece, coded, plain);
    case WeightFormat::Float16:
      return decode<WeightFormat::Float16>(piece, coded, plain);
    case WeightFormat::Float32:
      return decode<WeightFormat::Float32>(piece, coded, plain);
  }
  throw InvalidArgument("there is no weight format " + std::to_string(static_cast<int>(piece.format)));
}

}  // namespace deepplan
