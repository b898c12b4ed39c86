from dataclasses import replace

import pytest

from deepplan.planning.choices import Choices
from deepplan.planning.policies.flipping import flip_groups
from deepplan.planning.profile import LinkProfile, Profile
from deepplan.planning.simulator import latency_ms

MB = 1_000_000


@pytest.fixture
def profile(make_layer):
    """The first two layers are waited for: 1 ms of copy and 0.1 of execution each. The third, 1 MB, is not."""

    def coded(name, size_bytes, execute_ms):
        return replace(make_layer(name, size_bytes, execute_ms, None), coded_bytes=size_bytes // 2)

    layers = [coded("a", 10 * MB, 0.1), coded("b", 10 * MB, 9.0), coded("c", 1 * MB, 1.0)]
    return Profile(layers, [LinkProfile(0.0, 10.0)], decode_gbps=1000.0)


def choices(*coded):
    return Choices(("load",) * 3, (0, 1, 2), (0, 0, 0), coded)


@pytest.mark.parametrize("coded", [(False, False, False), (True, True, True), (False, False, True)])
def test_groups_are_coded_where_that_is_faster_and_plain_where_it_is_not(profile, coded):
    found = flip_groups(profile, choices(*coded))
    assert found == choices(True, True, False)
    assert latency_ms(profile, found) == pytest.approx(0.5 + 0.5 + 0.01 + 9 + 1)


def test_groups_that_cannot_be_coded_are_left_alone(profile):
    layers = [replace(profile.layers[0], coded_bytes=None), *profile.layers[1:]]
    assert flip_groups(replace(profile, layers=layers), choices(False, False, False)) == choices(False, True, False)


def test_a_group_is_plain_where_that_is_as_fast(profile):
    """A decoder that takes no time to speak of: coding the third group neither costs nor gains."""
    found = flip_groups(replace(profile, decode_gbps=1e6), choices(True, True, True))
    assert found == choices(True, True, False)
