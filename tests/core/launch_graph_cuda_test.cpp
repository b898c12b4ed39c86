// Work captured through the runtime's streams and launched whole; needs CUDA to compile and a GPU to run.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

struct LaunchGraphTest : EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, LaunchGraphTest, testing::Values(Backend::Cuda), backend_name);

struct Destroy {
  void operator()(cudaGraph_t graph) const { (void)cudaGraphDestroy(graph); }
};
using Captured = std::unique_ptr<CUgraph_st, Destroy>;

// What `work` gives to a stream and to those it makes wait for that one.
template <typename Work>
Captured capture(Stream& stream, const Work& work) {
  const auto native = static_cast<cudaStream_t>(stream.native());
  EXPECT_EQ(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  work();
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(native, &graph), cudaSuccess);
  return Captured(graph);
}

TEST_P(LaunchGraphTest, DoesAllWorkAtEveryLaunch) {
  const auto device = open();
  const PinnedBlock source = pinned_pattern(8 * kMiB, 3);
  const auto memory = device->allocate(8 * kMiB);
  const auto main = device->create_stream(), side = device->create_stream();
  const auto forked = device->create_event(), joined = device->create_event();
  const Captured captured = capture(*main, [&] {
    main->record(*forked);
    side->wait(*forked);
    device->copy_from_host(memory->data(), source.data(), 8 * kMiB, *side);
    side->record(*joined);
    main->wait(*joined);
    device->fill(memory->data(), 7, 512, *main);
  });
  const auto graph = device->instantiate(captured.get());
  std::vector<char> expected = bytes_of(source.data(), 8 * kMiB);
  std::fill_n(expected.begin(), 512, static_cast<char>(7));
  for (int launch = 0; launch < 3; ++launch) {
    fill_now(*device, memory->data(), 0xff, 8 * kMiB);
    graph->launch(*main);
    main->synchronize();
    EXPECT_EQ(read_back(*device, memory->data(), 8 * kMiB), expected);
  }
}

TEST_P(LaunchGraphTest, TimedEventsCarryTheTimesOfALaunch) {
  const auto device = open();
  const PinnedBlock source = pinned_pattern(64 * kMiB, 3);
  const auto memory = device->allocate(64 * kMiB);
  const auto stream = device->create_stream();
  const auto begin = device->create_event(EventKind::Timed), end = device->create_event(EventKind::Timed);
  const Captured captured = capture(*stream, [&] {
    stream->record(*begin);
    device->copy_from_host(memory->data(), source.data(), 64 * kMiB, *stream);
    stream->record(*end);
  });
  const auto graph = device->instantiate(captured.get());
  graph->launch(*stream);
  stream->synchronize();
  EXPECT_GT(end->elapsed_ms_since(*begin), 0.5);  // no PCIe link carries 128 GB/s
}

TEST_P(LaunchGraphTest, RefusesAnothersStream) {
  const auto device = open();
  const auto stream = device->create_stream();
  const auto memory = device->allocate(512);
  const Captured captured = capture(*stream, [&] { device->fill(memory->data(), 1, 512, *stream); });
  const auto graph = device->instantiate(captured.get());
  const auto elsewhere = open_device({Backend::Host, 0})->create_stream();
  EXPECT_THROW(graph->launch(*elsewhere), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
