#include "core/topology.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/every_backend.h"

namespace deepplan {
namespace {

class TopologyTest : public EveryBackend {};
INSTANTIATE_TEST_SUITE_P(, TopologyTest, every_backend(), backend_name);

TEST_P(TopologyTest, DescribesEveryDeviceAndPair) {
  std::vector<std::shared_ptr<Device>> devices;
  for (int index = 0; index < device_count(GetParam()); ++index) devices.push_back(open(index));
  const Topology topology = discover_topology(devices);
  ASSERT_EQ(topology.devices.size(), devices.size());
  for (std::size_t a = 0; a < devices.size(); ++a) {
    EXPECT_EQ(topology.devices[a].id, devices[a]->id());
    EXPECT_EQ(topology.devices[a].pci_bus_id.empty(), GetParam() == Backend::Host);
    EXPECT_TRUE(topology.peers[a][a].access);
    EXPECT_FALSE(topology.looks_like_nvlink(a, a));
    for (std::size_t b = 0; b < devices.size(); ++b) {
      EXPECT_EQ(topology.looks_like_nvlink(a, b), topology.looks_like_nvlink(b, a));
      EXPECT_EQ(topology.shared_pci_ancestors(a, b), topology.shared_pci_ancestors(b, a));
    }
  }
}

TEST_P(TopologyTest, MeasuresEveryLinkAtOnce) {
  set_host_devices({.count = 2, .link_gbps = 1.0, .link_latency_us = 0.0});
  std::vector<std::shared_ptr<Device>> devices;
  for (int index = 0; index < std::min(2, device_count(GetParam())); ++index) devices.push_back(open(index));
  const std::vector<double> gbps = measure_host_to_device_gbps(devices, std::size_t{8} << 20, process_arena(), 3);
  ASSERT_EQ(gbps.size(), devices.size());
  for (const double rate : gbps) {
    EXPECT_GT(rate, 0.01);
    EXPECT_LT(rate, GetParam() == Backend::Host ? 1.5 : 1000.0);  // never faster than the link
  }
  EXPECT_THROW(measure_host_to_device_gbps(devices, 0, process_arena()), InvalidArgument);
  EXPECT_THROW(measure_host_to_device_gbps(devices, 1, process_arena(), 0), InvalidArgument);
}

TEST(Topology, TellsNvlinkFromPlainPeerAccess) {
  Topology topology;
  const PeerLink none{};
  const PeerLink plain{.access = true};
  const PeerLink atomics{.access = true, .native_atomics = true};
  topology.peers = {{plain, atomics, plain}, {atomics, plain, none}, {atomics, none, plain}};
  EXPECT_TRUE(topology.looks_like_nvlink(0, 1));
  EXPECT_FALSE(topology.looks_like_nvlink(0, 2));  // one way only
  EXPECT_FALSE(topology.looks_like_nvlink(1, 2));
}

TEST(Topology, CountsSharedPciAncestors) {
  Topology topology;
  topology.devices.resize(4);
  topology.devices[0].pci_ancestry = {"pci0000:00", "0000:00:01.0", "0000:01:00.0"};
  topology.devices[1].pci_ancestry = {"pci0000:00", "0000:00:01.0", "0000:02:00.0"};
  topology.devices[2].pci_ancestry = {"pci0000:80", "0000:81:00.0"};
  EXPECT_EQ(topology.shared_pci_ancestors(0, 1), 2);
  EXPECT_EQ(topology.shared_pci_ancestors(0, 2), 0);
  EXPECT_EQ(topology.shared_pci_ancestors(2, 1), 0);
  EXPECT_EQ(topology.shared_pci_ancestors(0, 3), -1);
}

TEST(PciAncestry, IsEmptyForWhatIsNotThere) {
  EXPECT_TRUE(pci_ancestry("").empty());
  EXPECT_TRUE(pci_ancestry("ffff:ff:1f.7").empty());
}

}  // namespace
}  // namespace deepplan
