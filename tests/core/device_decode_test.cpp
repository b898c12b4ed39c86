// Device::decode: csrc/core/host_device.cpp, csrc/core/cuda/cuda_decode.cpp and the kernels.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "core/every_backend.h"
#include "core/weight_samples.h"

namespace deepplan {
namespace {

constexpr std::size_t kGuardBytes = 4096;
constexpr WeightFormat kFormats[] = {WeightFormat::BFloat16, WeightFormat::Float16, WeightFormat::Float32};

class DeviceDecodeTest : public EveryBackend {
 protected:
  void SetUp() override {
    EveryBackend::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    use_fast_links();
    need_decoding();
  }

  // Brings coded weights to the device and decodes them there, without a wait between: what lies there then, and the
  // guard behind it.
  std::vector<char> through_device(const Coded& coded) const {
    const auto device = open();
    const PinnedBlock source = process_arena().allocate(std::max<std::size_t>(coded.bytes.size(), 1));
    std::copy(coded.bytes.begin(), coded.bytes.end(), source.data());
    const auto there = device->allocate(coded.bytes.size());
    const auto plain = device->allocate(coded.piece.plain_bytes + kGuardBytes);
    fill_now(*device, plain->data(), 0xee, plain->size_bytes());
    const auto stream = device->create_stream();
    device->copy_from_host(there->data(), source.data(), coded.bytes.size(), *stream);
    device->decode(plain->data(), there->data(), coded.piece, *stream);
    stream->synchronize();
    return read_back(*device, plain->data(), plain->size_bytes());
  }

  void expect_round_trip(WeightFormat format, std::vector<char> plain) const {
    const std::vector<char> decoded = through_device(code(format, plain));
    const std::size_t bytes = plain.size();
    plain.resize(bytes + kGuardBytes, '\xee');
    EXPECT_TRUE(decoded == plain) << format_name(format) << ", " << bytes << " bytes";
  }
};
INSTANTIATE_TEST_SUITE_P(, DeviceDecodeTest, every_backend(), backend_name);

TEST_P(DeviceDecodeTest, GivesTheWeightsThatWereCoded) {
  for (const WeightFormat format : kFormats) {
    for (const std::size_t weights : {0, 1, 3, 8, 9, 1023, 1024, 1025, 2 * 1024 + 5, 3 * 1024 * 1024 + 17}) {
      expect_round_trip(format, normal_weights(format, weights));
    }
  }
}

TEST_P(DeviceDecodeTest, GivesAnyBytes) {
  for (const WeightFormat format : kFormats) {
    expect_round_trip(format, random_bytes(300'000));
    expect_round_trip(format, std::vector<char>(300'000, '\0'));
    expect_round_trip(format, std::vector<char>(300'000, '\xff'));
    expect_round_trip(format, normal_weights(format, 64 * 1024, {0.02F, 2.0F, 0.001F, 1e-30F}, 5));
  }
  expect_round_trip(WeightFormat::BFloat16, random_bytes(kMostPieceBytes));
}

TEST_P(DeviceDecodeTest, TouchesNothingElseWhateverTheBytes) {
  for (const WeightFormat format : kFormats) {
    Coded coded = code(format, normal_weights(format, 9 * 1024 + 100));
    std::mt19937 generator(9);
    for (int round = 0; round < 20; ++round) {
      for (int i = 0; i < 20; ++i) coded.bytes[generator() % coded.bytes.size()] = static_cast<char>(generator());
      const std::vector<char> decoded = through_device(coded);
      EXPECT_EQ(std::count(decoded.end() - kGuardBytes, decoded.end(), '\xee'), kGuardBytes);
    }
    std::fill(coded.bytes.begin(), coded.bytes.end(), '\xff');  // nothing but escapes, from beyond the end
    through_device(coded);
    expect_round_trip(format, normal_weights(format, 100));  // goes on
  }
}

TEST_P(DeviceDecodeTest, RefusesWhatCannotBeMeant) {
  const auto device = open();
  const auto stream = device->create_stream();
  const auto memory = device->allocate(1 << 20);
  const CodedPiece piece = code(WeightFormat::BFloat16, normal_weights(WeightFormat::BFloat16, 3000)).piece;
  char* const plain = memory->data();
  char* const coded = plain + (1 << 19);
  EXPECT_THROW(device->decode(plain, coded, {piece.format, piece.plain_bytes + 1, piece.coded_bytes}, *stream),
               InvalidArgument);
  EXPECT_THROW(device->decode(plain, coded, {piece.format, piece.plain_bytes, 16}, *stream), InvalidArgument);
  EXPECT_THROW(device->decode(plain + 8, coded, piece, *stream), InvalidArgument);
  EXPECT_THROW(device->decode(plain, coded + 8, piece, *stream), InvalidArgument);
  if (device_count(GetParam()) > 1) {
    EXPECT_THROW(device->decode(plain, coded, piece, *open(1)->create_stream()), InvalidArgument);
  }
  stream->synchronize();
}

class DeviceWithoutKernelsTest : public EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, DeviceWithoutKernelsTest, every_backend(), backend_name);

TEST_P(DeviceWithoutKernelsTest, SaysHowToGetThem) {
  const auto device = open();
  if (device->can_decode()) GTEST_SKIP() << "it can decode";
  const auto memory = device->allocate(1 << 20);
  const CodedPiece piece = code(WeightFormat::BFloat16, normal_weights(WeightFormat::BFloat16, 3000)).piece;
  try {
    device->decode(memory->data(), memory->data() + (1 << 19), piece, *device->create_stream());
    FAIL() << "decoded without kernels";
  } catch (const DeviceError& error) {
    EXPECT_NE(error.message().find("build"), std::string::npos) << error.message();
  }
}

TEST(HostDecodeTest, LeavesNoNumbersOfDamagedBytes) {
  const auto device = open_device({Backend::Host, 0});
  Coded coded = code(WeightFormat::Float32, normal_weights(WeightFormat::Float32, 3000));
  std::fill(coded.bytes.begin(), coded.bytes.end(), '\xff');
  const auto memory = device->allocate(coded.bytes.size());
  std::copy(coded.bytes.begin(), coded.bytes.end(), memory->data());
  const auto plain = device->allocate(coded.piece.plain_bytes);
  const auto stream = device->create_stream();
  device->decode(plain->data(), memory->data(), coded.piece, *stream);
  stream->synchronize();
  EXPECT_EQ(bytes_of(plain->data(), plain->size_bytes()), std::vector<char>(plain->size_bytes(), '\xff'));
}

}  // namespace
}  // namespace deepplan
