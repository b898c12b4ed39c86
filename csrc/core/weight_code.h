#pragma once

#include <cstddef>
#include <span>

#include "core/weight_format.h"

namespace deepplan {

// Weights coded without loss, in fewer bytes where their exponents crowd (core/weight_format.h has the layout).
struct CodedPiece {
  WeightFormat format = WeightFormat::BFloat16;
  std::size_t plain_bytes = 0;
  std::size_t coded_bytes = 0;
};

// InvalidArgument unless the plain size is whole weights and at most kMostPieceBytes, and the coded size one that the
// encoder can give for it. Looks at the sizes only.
void check_piece(const CodedPiece& piece);

// The same, and that both addresses are aligned to 16 bytes, as a device's decoder needs them.
void check_decoding(const CodedPiece& piece, const void* coded, const void* plain);

// What encode_weights may need for so many bytes: more than the bytes themselves, for nothing is known of them.
std::size_t most_coded_bytes(WeightFormat format, std::size_t plain_bytes);

// Codes any bytes, be they weights or not; returns how many of `coded` were written, a multiple of 16. Deterministic.
// InvalidArgument for sizes that check_piece refuses, and for less room than most_coded_bytes.
std::size_t encode_weights(WeightFormat format, std::span<const char> plain, std::span<char> coded);

// The reverse, on the calling thread. Reads piece.coded_bytes and writes piece.plain_bytes at most, whatever the coded
// bytes hold: InvalidArgument where they cannot be the encoder's, and then what was written is undefined.
void decode_weights(const CodedPiece& piece, const char* coded, char* plain);

}  // namespace deepplan
