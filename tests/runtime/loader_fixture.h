// What tests of the loader share: links, a model of two groups, and a look at memory behind an event.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/every_backend.h"
#include "runtime/loader.h"
#include "runtime/random_model.h"

namespace deepplan {

inline constexpr std::size_t kMiB = std::size_t{1} << 20;

class LoaderTest : public EveryBackend {
 protected:
  std::unique_ptr<Links> open_links(int count, std::size_t slot_bytes = 32 << 10) {
    std::vector<std::shared_ptr<Device>> helpers;
    for (int index = 1; index < count; ++index) helpers.push_back(open(index));
    return std::make_unique<Links>(open(), helpers, LinksOptions{.slots = 3, .slot_bytes = slot_bytes});
  }

  // The bytes of one extent as they are right after waiting for an event on another stream; null waits for nothing.
  static std::vector<char> read_behind(Device& device, Stream& stream, const Event* ready, const char* base,
                                       const Extent& extent) {
    const PinnedBlock landing = process_arena().allocate(extent.bytes);
    if (ready != nullptr) stream.wait(*ready);
    device.copy_to_host(landing.data(), base + extent.offset, extent.bytes, stream);
    stream.synchronize();
    return bytes_of(landing.data(), extent.bytes);
  }
};

// Two groups of 16 MiB each over one link.
struct TwoGroups {
  ModelWeights model{.tensor_bytes = {16 * kMiB, 16 * kMiB}, .layer_tensors = {{0}, {1}}};
  ExecutionPlan plan{.placement = {Placement::Load, Placement::Load}, .group = {0, 1}, .route = {0, 0}};
  HostWeights weights{process_arena(), lay_out(model, plan)};
  TwoGroups() { write_pattern(weights); }
  std::vector<char> group(std::size_t index) const {
    const Extent& extent = weights.layout().groups[index];
    return bytes_of(weights.begin() + extent.offset, extent.bytes);
  }
};

}  // namespace deepplan
