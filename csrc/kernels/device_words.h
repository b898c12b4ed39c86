#pragma once

#include <cstdint>
#include <cstring>

#include "core/weight_format.h"

#ifdef __CUDACC__
#define DEEPPLAN_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define DEEPPLAN_HOST_DEVICE inline
#endif
#ifdef __CUDA_ARCH__  // host compilers warn of pragmas that they do not know
#define DEEPPLAN_UNROLL _Pragma("unroll")
#else
#define DEEPPLAN_UNROLL
#endif

namespace deepplan::kernels {

// What kernels do with words, each in two ways: the GPU's instruction, and plain C++ with which the tests run a
// kernel's code without a GPU. Addresses are aligned to what is loaded or stored.

struct alignas(kVectorBytes) Vector {
  std::uint32_t word[4];
};

template <typename T>
DEEPPLAN_HOST_DEVICE T load(const char* from) {
#ifdef __CUDA_ARCH__
  return *reinterpret_cast<const T*>(from);
#else
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
#endif
}

template <typename T>
DEEPPLAN_HOST_DEVICE void store(char* to, const T& value) {
#ifdef __CUDA_ARCH__
  *reinterpret_cast<T*>(to) = value;
#else
  std::memcpy(to, &value, sizeof value);
#endif
}

DEEPPLAN_HOST_DEVICE unsigned count_ones(std::uint32_t word) {
#ifdef __CUDA_ARCH__
  return static_cast<unsigned>(__popc(word));
#else
  return static_cast<unsigned>(__builtin_popcount(word));
#endif
}

DEEPPLAN_HOST_DEVICE unsigned lowest_one(std::uint32_t word) {
#ifdef __CUDA_ARCH__
  return static_cast<unsigned>(__ffs(word)) - 1;
#else
  return static_cast<unsigned>(__builtin_ctz(word));
#endif
}

// The instruction that builds a word of any 4 bytes of two: hexadecimal digit i of `picks` names byte i of the result,
// 0 to 3 in `low`, 4 to 7 in `high`. No digit may be above 7.
DEEPPLAN_HOST_DEVICE std::uint32_t pick_bytes(std::uint32_t low, std::uint32_t high, std::uint32_t picks) {
#ifdef __CUDA_ARCH__
  return __byte_perm(low, high, picks);
#else
  const std::uint64_t both = std::uint64_t{high} << 32 | low;
  std::uint32_t picked = 0;
  for (unsigned i = 0; i < 4; ++i)
    picked |= static_cast<std::uint32_t>(both >> (picks >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  return picked;
#endif
}

}  // namespace deepplan::kernels
