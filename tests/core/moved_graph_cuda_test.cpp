// Captured work that finds its memory elsewhere at a later launch; needs CUDA to compile and a GPU to run.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "core/cuda/graph_parts.h"
#include "core/error.h"
#include "core/every_backend.h"
#include "core/weight_samples.h"

namespace deepplan {
namespace {

constexpr std::size_t kBytes = 4096;
constexpr std::ptrdiff_t kShift = ShiftedCapture::shift_bytes(0);

class MovedGraphTest : public EveryBackend {
 protected:
  void SetUp() override {
    EveryBackend::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    device = open();
    stream = device->create_stream();
    mark = device->create_event();
    out = device->allocate(2 * kBytes);
    for (auto& memory : weights) memory = device->allocate(kBytes + static_cast<std::size_t>(kShift));
  }

  // What `work` does with weights at an address.
  template <typename Work>
  CapturedGraph captured(const Work& work, char* address) {
    const auto native = static_cast<cudaStream_t>(stream->native());
    EXPECT_EQ(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    work(address);
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(native, &graph), cudaSuccess);
    return CapturedGraph(graph);
  }

  // Captured over the first weights.
  template <typename Work, typename Again>
  std::unique_ptr<LaunchGraph> movable(const Work& work, const Again& work_again) {
    char* const begin = weights[0]->data();
    const CapturedGraph graph = captured(work, begin), shifted = captured(work_again, begin + kShift);
    const ShiftedCapture again{.captured = shifted.get(), .spans = {{begin, kBytes}}};
    return device->instantiate(graph.get(), &again);
  }
  template <typename Work>
  std::unique_ptr<LaunchGraph> movable(const Work& work) {
    return movable(work, work);
  }

  std::vector<char> launched(LaunchGraph& graph) {
    fill_now(*device, out->data(), 0xff, out->size_bytes());
    for (int part = 0; part < graph.part_count(); ++part) graph.launch(part, *stream);
    stream->synchronize();
    return read_back(*device, out->data(), out->size_bytes());
  }

  std::shared_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Event> mark;
  std::unique_ptr<DeviceMemory> out, weights[3];
};
INSTANTIATE_TEST_SUITE_P(, MovedGraphTest, testing::Values(Backend::Cuda), backend_name);

TEST_P(MovedGraphTest, ReadsItsMemoryWhereItIsNow) {
  for (int i = 0; i < 3; ++i) fill_now(*device, weights[i]->data(), static_cast<unsigned char>(i), kBytes);
  // Two parts, of which one reads behind the other's weights.
  const auto graph = movable([&](char* address) {
    device->copy_to_peer(*device, out->data(), address, kBytes / 2, *stream);
    stream->cut(*mark);
    device->copy_to_peer(*device, out->data() + kBytes, address + kBytes / 2, kBytes / 2, *stream);
  });
  ASSERT_EQ(graph->part_count(), 2);
  ASSERT_EQ(graph->span_count(), 1);
  for (const int i : {0, 2, 1, 1, 0}) {
    graph->move_to({weights[i]->data()});
    const std::vector<char> found = launched(*graph);
    EXPECT_EQ(found.at(0), i);
    EXPECT_EQ(found.at(kBytes), i);
    EXPECT_EQ(found.at(kBytes / 2), static_cast<char>(0xff));
  }
  EXPECT_THROW(graph->move_to({}), InvalidArgument);
}

TEST_P(MovedGraphTest, FindsNewMemoryAtAnOldAddress) {
  const auto graph =
      movable([&](char* address) { device->copy_to_peer(*device, out->data(), address, kBytes, *stream); });
  char* const old = weights[0]->data();
  for (unsigned char round = 1; round < 4; ++round) {
    weights[0].reset();
    weights[0] = device->allocate(kBytes + static_cast<std::size_t>(kShift));
    fill_now(*device, weights[0]->data(), round, kBytes);
    graph->move_to({weights[0]->data()});
    EXPECT_EQ(launched(*graph).at(0), round) << (weights[0]->data() == old ? "same address" : "another address");
  }
}

TEST_P(MovedGraphTest, KernelsReadTheirMemoryWhereItIsNow) {
  need_decoding();
  const std::vector<char> plain = normal_weights(WeightFormat::Float32, 1024);
  const Coded coded = code(WeightFormat::Float32, plain);
  ASSERT_LE(coded.bytes.size(), kBytes);
  const PinnedBlock source = process_arena().allocate(coded.bytes.size());
  std::copy(coded.bytes.begin(), coded.bytes.end(), source.data());
  const auto graph = movable([&](char* address) { device->decode(out->data(), address, coded.piece, *stream); });
  for (const int i : {1, 0, 2}) {
    for (auto& memory : weights) fill_now(*device, memory->data(), 0xff, kBytes);
    device->copy_from_host(weights[i]->data(), source.data(), coded.bytes.size(), *stream);
    graph->move_to({weights[i]->data()});
    std::vector<char> found = launched(*graph);
    found.resize(plain.size());
    EXPECT_TRUE(found == plain) << i;
  }
}

TEST_P(MovedGraphTest, RefusesWhatCannotBeMoved) {
  const auto copies = [&](char* address) { device->copy_to_peer(*device, out->data(), address, 512, *stream); };
  EXPECT_THROW(movable(copies,
                       [&](char* address) {
                         copies(address);
                         copies(address);
                       }),
               DeviceError);
  EXPECT_THROW(movable(copies, [&](char*) { device->fill(out->data(), 1, 512, *stream); }), DeviceError);
  EXPECT_THROW(movable(copies, [&](char* address) { copies(address + 512); }), DeviceError);
  EXPECT_THROW(movable([&](char* address) { device->fill(address, 1, 512, *stream); }), DeviceError);
  EXPECT_THROW(movable([&](char* address) { device->copy_to_peer(*device, address, out->data(), 512, *stream); }),
               DeviceError);
}

TEST_P(MovedGraphTest, StaysWhereItWasWithoutASecondCapture) {
  const CapturedGraph graph = captured([&](char* address) { device->fill(address, 1, 512, *stream); }, out->data());
  const auto stays = device->instantiate(graph.get(), nullptr);
  EXPECT_EQ(stays->span_count(), 0);
  EXPECT_EQ(launched(*stays).at(0), 1);
}

}  // namespace
}  // namespace deepplan
