// A cold start is one CUDA graph: decoding must be possible in it.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/cuda/cuda_check.h"
#include "core/every_backend.h"
#include "core/weight_samples.h"

namespace deepplan {
namespace {

class DecodeGraphTest : public EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, DecodeGraphTest, testing::Values(Backend::Cuda), backend_name);

TEST_P(DecodeGraphTest, IsCapturedAndReplayed) {
  need_decoding();
  if (IsSkipped() || HasFatalFailure()) return;
  const auto device = open();
  const CudaDeviceGuard guard(0);
  const std::vector<char> plain = normal_weights(WeightFormat::BFloat16, 1'000'000);
  const Coded coded = code(WeightFormat::BFloat16, plain);
  const PinnedBlock source = process_arena().allocate(coded.bytes.size());
  std::copy(coded.bytes.begin(), coded.bytes.end(), source.data());
  const auto there = device->allocate(coded.bytes.size());
  const auto memory = device->allocate(plain.size());
  const auto stream = device->create_stream();
  const auto native = static_cast<cudaStream_t>(stream->native());

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check_cuda(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  device->copy_from_host(there->data(), source.data(), coded.bytes.size(), *stream);
  device->decode(memory->data(), there->data(), coded.piece, *stream);
  check_cuda(cudaStreamEndCapture(native, &graph), "cudaStreamEndCapture");
  check_cuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  for (int replay = 0; replay < 2; ++replay) {
    fill_now(*device, memory->data(), 0xff, plain.size());
    check_cuda(cudaGraphLaunch(executable, native), "cudaGraphLaunch");
    stream->synchronize();
    EXPECT_TRUE(read_back(*device, memory->data(), plain.size()) == plain);
  }
  check_cuda(cudaGraphExecDestroy(executable), "cudaGraphExecDestroy");
  check_cuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
}

}  // namespace
}  // namespace deepplan
