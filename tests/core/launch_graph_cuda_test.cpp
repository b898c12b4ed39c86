// Work captured through the runtime's streams and launched in parts; needs CUDA to compile and a GPU to run.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "core/cuda/graph_parts.h"
#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

struct LaunchGraphTest : EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, LaunchGraphTest, testing::Values(Backend::Cuda), backend_name);

// What `work` gives to a stream and to those it makes wait for that one.
template <typename Work>
std::unique_ptr<LaunchGraph> capture(Device& device, Stream& stream, const Work& work) {
  const auto native = static_cast<cudaStream_t>(stream.native());
  EXPECT_EQ(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  work();
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(native, &graph), cudaSuccess);
  const CapturedGraph captured(graph);
  return device.instantiate(graph, nullptr);
}

TEST_P(LaunchGraphTest, DoesAllWorkAtEveryLaunch) {
  const auto device = open();
  const PinnedBlock source = pinned_pattern(8 * kMiB, 3);
  const auto memory = device->allocate(8 * kMiB);
  const auto main = device->create_stream(), side = device->create_stream();
  const auto forked = device->create_event(), joined = device->create_event();
  const auto graph = capture(*device, *main, [&] {
    main->record(*forked);
    side->wait(*forked);
    device->copy_from_host(memory->data(), source.data(), 8 * kMiB, *side);
    side->record(*joined);
    main->wait(*joined);
    device->fill(memory->data(), 7, 512, *main);
  });
  std::vector<char> expected = bytes_of(source.data(), 8 * kMiB);
  std::fill_n(expected.begin(), 512, static_cast<char>(7));
  for (int launch = 0; launch < 3; ++launch) {
    fill_now(*device, memory->data(), 0xff, 8 * kMiB);
    graph->launch(0, *main);
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
  const auto graph = capture(*device, *stream, [&] {
    stream->record(*begin);
    device->copy_from_host(memory->data(), source.data(), 64 * kMiB, *stream);
    stream->record(*end);
  });
  graph->launch(0, *stream);
  stream->synchronize();
  EXPECT_GT(end->elapsed_ms_since(*begin), 0.5);  // no PCIe link carries 128 GB/s
}

TEST_P(LaunchGraphTest, IsLaunchedInThePartsItWasCutInto) {
  const auto device = open();
  constexpr std::size_t kBytes = 256 * kMiB;  // on its way for milliseconds
  const PinnedBlock source = pinned_pattern(kBytes, 3);
  const auto memory = device->allocate(kBytes), copy = device->allocate(kBytes);
  const auto main = device->create_stream(), load = device->create_stream(), side = device->create_stream();
  const auto arrived = device->create_event(), mark = device->create_event();
  const auto forked = device->create_event(), joined = device->create_event();
  const auto graph = capture(*device, *main, [&] {
    main->cut(*mark);  // nothing is before it
    device->fill(copy->data(), 1, 512, *main);
    main->record(*forked);
    side->wait(*forked);
    device->fill(copy->data() + 512, 2, 512, *side);  // of the first part, though it is joined in the second
    side->record(*joined);
    main->cut(*mark);
    device->copy_to_peer(*device, copy->data() + 1024, memory->data() + 1024, kBytes - 1024, *main);
    main->wait(*joined);
    main->cut(*mark);
    device->fill(copy->data() + 1024, 3, 512, *main);
  });
  ASSERT_EQ(graph->part_count(), 4);
  std::vector<char> expected = bytes_of(source.data(), kBytes);
  for (int part = 1; part <= 3; ++part) std::fill_n(expected.begin() + 512 * (part - 1), 512, static_cast<char>(part));
  for (int launch = 0; launch < 3; ++launch) {
    fill_now(*device, memory->data(), 0xff, kBytes);
    fill_now(*device, copy->data(), 0xff, kBytes);
    graph->launch(0, *main);
    graph->launch(1, *main);
    main->synchronize();
    EXPECT_EQ(read_back(*device, copy->data(), 2048).at(511), 1);
    EXPECT_EQ(read_back(*device, copy->data(), 2048).at(512), 2);
    EXPECT_EQ(read_back(*device, copy->data(), 2048).at(1024), static_cast<char>(0xff));
    device->copy_from_host(memory->data(), source.data(), kBytes, *load);
    load->record(*arrived);
    main->wait(*arrived);
    graph->launch(2, *main);
    graph->launch(3, *main);
    main->synchronize();
    EXPECT_EQ(read_back(*device, copy->data(), kBytes), expected);
  }
  EXPECT_THROW(graph->launch(4, *main), InvalidArgument);
  EXPECT_THROW(graph->launch(-1, *main), InvalidArgument);
}

TEST_P(LaunchGraphTest, RefusesAnothersStream) {
  const auto device = open();
  const auto stream = device->create_stream();
  const auto memory = device->allocate(512);
  const auto graph = capture(*device, *stream, [&] { device->fill(memory->data(), 1, 512, *stream); });
  const auto elsewhere = open_device({Backend::Host, 0})->create_stream();
  EXPECT_THROW(graph->launch(0, *elsewhere), InvalidArgument);
}

}  // namespace
}  // namespace deepplan
