#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "core/pinned_arena.h"

#if defined(__SANITIZE_THREAD__)
#define DEEPPLAN_SKIP_DELIBERATE_RACE() \
  GTEST_SKIP() << "a wait is dropped on purpose: the thread sanitizer would see it"
#else
#define DEEPPLAN_SKIP_DELIBERATE_RACE() static_cast<void>(0)
#endif

namespace deepplan {

// One test body for every backend. CUDA instances skip without a GPU, and fail instead where FAIL_WITHOUT_CUDA=1.
class EveryBackend : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override { need(1); }
  void TearDown() override { set_host_devices({}); }

  // Ends the test (check with IsSkipped or HasFatalFailure) unless there are so many devices.
  void need(int devices) {
    if (device_count(GetParam()) >= devices) return;
    if (device_count(GetParam()) == 0 && must_not_skip()) FAIL() << unavailable_reason(GetParam());
    GTEST_SKIP() << "needs " << devices << " " << to_string(GetParam()) << " devices; "
                 << unavailable_reason(GetParam());
  }

  // The same unless the device decodes weights, which a build without nvcc leaves out.
  void need_decoding() {
    if (open()->can_decode()) return;
    if (must_not_skip()) FAIL() << "built without the kernels that decode weights";
    GTEST_SKIP() << "built without the kernels that decode weights";
  }

  static bool must_not_skip() {
    const char* required = std::getenv("FAIL_WITHOUT_CUDA");
    return required != nullptr && std::string_view(required) == "1";
  }

  std::shared_ptr<Device> open(int index = 0) const { return open_device({GetParam(), index}); }

  // Host devices with links so slow that a busy machine is not slower, or so fast that only order matters. Nothing to
  // set on CUDA.
  static void use_slow_links() { set_host_devices({.link_gbps = 0.2}); }
  static void use_fast_links() { set_host_devices({.link_gbps = 1000.0, .link_latency_us = 0.0}); }
};

inline auto every_backend() { return testing::Values(Backend::Host, Backend::Cuda); }

inline std::string backend_name(const testing::TestParamInfo<Backend>& info) {
  return info.param == Backend::Host ? "Host" : "Cuda";
}

inline PinnedBlock pinned_pattern(std::size_t bytes, unsigned seed) {
  PinnedBlock block = process_arena().allocate(bytes);
  for (std::size_t i = 0; i < bytes; ++i) {
    // Never 0xff, the byte that stands for "not arrived".
    block.data()[i] = static_cast<char>((i * 2654435761U + seed * 40503U) % 251U);
  }
  return block;
}

// What lies in device memory now; waits for the device.
inline std::vector<char> read_back(Device& device, const char* data, std::size_t bytes) {
  device.synchronize();
  const PinnedBlock landing = process_arena().allocate(bytes);
  const auto stream = device.create_stream();
  device.copy_to_host(landing.data(), data, bytes, *stream);
  stream->synchronize();
  return {landing.data(), landing.data() + bytes};
}

inline std::vector<char> bytes_of(const char* data, std::size_t bytes) { return {data, data + bytes}; }

inline void fill_now(Device& device, char* data, unsigned char byte, std::size_t bytes) {
  const auto stream = device.create_stream();
  device.fill(data, byte, bytes, *stream);
  stream->synchronize();
}

}  // namespace deepplan
