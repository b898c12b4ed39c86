import dataclasses

import pytest

from deepplan.errors import InvalidInputError
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile


def test_a_profile_can_be_written_by_hand_with_lists():
    profile = Profile(
        layers=[LayerProfile("fc", "Linear", size_bytes=4, load_ms=1, execute_ms=1, direct_host_access_ms=None)],
        links=[LinkProfile(latency_ms=0, bandwidth_gbps=1)],
    )
    assert isinstance(profile.layers, tuple) and isinstance(profile.links, tuple)
    assert (profile.group_overhead_ms, profile.model, profile.devices, profile.warm_ms) == (0.0, "", (), None)


def test_bandwidth_counts_powers_of_ten():
    assert LinkProfile(0.0, 55.5).bytes_per_ms == 55_500_000


@pytest.mark.parametrize("layers, links", [((), None), (None, ())])
def test_layers_and_links_must_be_there(layers, links, small_profile):
    good = small_profile()
    with pytest.raises(InvalidInputError, match="at least one layer and one link"):
        Profile(good.layers if layers is None else layers, good.links if links is None else links)


def test_layers_must_be_layers(small_profile):
    with pytest.raises(InvalidInputError, match=r"layers\[0\] is 'fc'"):
        Profile(layers=["fc"], links=small_profile().links)


def test_devices_are_one_for_each_link(small_profile):
    with pytest.raises(InvalidInputError, match="devices"):
        small_profile(2, devices=("cuda:0",))


def test_links_can_be_restricted_and_reordered(small_profile):
    profile = small_profile(3, devices=("a", "b", "c"), model="tiny")
    restricted = profile.with_links([2, 0])
    assert restricted.devices == ("c", "a") and len(restricted.links) == 2 and restricted.model == "tiny"
    assert small_profile(3).with_links([1]).devices == ()


def test_fewer_links_carry_more_each(small_profile):
    """Four links that carry 40, 30, 30 and 20 GB/s at once; 55 alone, 50 and 48 in twos."""
    rates = [40.0, 30.0, 30.0, 20.0]
    profile = dataclasses.replace(
        small_profile(),
        links=tuple(LinkProfile(0.03, rate) for rate in rates),
        fewer_links=((LinkProfile(0.003, 55.0),), (LinkProfile(0.008, 50.0), LinkProfile(0.008, 48.0))),
    )
    assert profile.with_links([0]).links == (LinkProfile(0.003, 55.0),)
    assert profile.with_links([0, 1]).links == profile.fewer_links[1]
    slow = profile.with_links([0, 3]).links[1]  # gains as much as the second does, from its own rate
    assert (slow.latency_ms, slow.bandwidth_gbps) == pytest.approx((0.008, 20.0 * 48.0 / 30.0))
    assert profile.with_links([0, 1, 2]).links == profile.links[:3]  # of three at once nothing is known
    twice = profile.with_links([0, 1, 2]).with_links([0, 1])
    assert twice.links == profile.fewer_links[1] and twice.with_links([0]).links == profile.fewer_links[0]
    assert profile.with_links([0, 1]).with_links([0, 1]).links == profile.fewer_links[1]


def test_others_that_load_take_bandwidth_and_no_latency(small_profile):
    links = tuple(LinkProfile(0.02, gbps) for gbps in (40.0, 40.0, 38.0))
    fewer = ((LinkProfile(0.003, 55.0),), (LinkProfile(0.01, 50.0), LinkProfile(0.01, 48.0)))
    profile = dataclasses.replace(small_profile(3), links=links, fewer_links=fewer)
    assert profile.with_links([0], beside=0).links == (LinkProfile(0.003, 55.0),)
    assert profile.with_links([0], beside=1).links == (LinkProfile(0.003, 50.0),)
    assert profile.with_links([0], beside=2).links == (LinkProfile(0.003, 40.0),)
    assert profile.with_links([0], beside=9).links == (LinkProfile(0.003, 40.0),)
    assert profile.with_links([0, 1], beside=1).links == (LinkProfile(0.01, 40.0), LinkProfile(0.01, 40.0))


@pytest.mark.parametrize("counts", [(2,), (1, 1), (1, 2), (0,)])
def test_fewer_links_are_one_then_two_and_less_than_all(counts, small_profile):
    fewer = tuple((LinkProfile(0.01, 10.0),) * count for count in counts)
    with pytest.raises(InvalidInputError, match="fewer_links"):
        small_profile(2, fewer_links=fewer)


@pytest.mark.parametrize("links", [[], [0, 0], [3], [-1]])
def test_links_to_restrict_to_must_be_there(links, small_profile):
    with pytest.raises(InvalidInputError, match="links"):
        small_profile(3).with_links(links)
