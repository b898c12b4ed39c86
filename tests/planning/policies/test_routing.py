"""10 MB take 1 ms on a link of 10 GB/s, 2 ms on one of 5 GB/s."""

import pytest

from deepplan.planning.policies.routing import choices_in_order
from deepplan.planning.profile import LinkProfile, Profile

MB = 1_000_000
YES, NO = True, False


@pytest.fixture
def four_layers(make_layer):
    return tuple(make_layer(name, 10 * MB, 1.0, 3.0) for name in "abcd")


def test_groups_are_numbered_over_the_loaded_layers(four_layers):
    profile = Profile(four_layers, (LinkProfile(0.0, 10.0),))
    choices = choices_in_order(profile, [YES, NO, YES, YES], [NO, YES, NO, YES])
    assert choices.placements == ("load", "dha", "load", "load")
    assert choices.groups == (0, -1, 0, 1)


def test_each_group_takes_the_link_where_it_arrives_first(four_layers):
    profile = Profile(four_layers, (LinkProfile(0.0, 10.0), LinkProfile(0.0, 5.0)))
    # Arrivals: 1 or 2; 2 or 2, a tie for the first link; 3 or 2; 3 or 4.
    assert choices_in_order(profile, [YES] * 4, [YES] * 4).routes == (0, 0, 1, 0)


def test_whole_groups_count_and_latencies_too(four_layers):
    profile = Profile(four_layers, (LinkProfile(1.5, 10.0), LinkProfile(0.0, 5.0)))
    # Three layers: 1.5 + 3 or 6; then one: 4.5 + 2.5 or 2.
    assert choices_in_order(profile, [YES] * 4, [YES, NO, NO, YES]).routes == (0, 1)


def test_in_place_reads_hold_the_targets_link(four_layers):
    profile = Profile(four_layers, (LinkProfile(0.0, 10.0), LinkProfile(0.0, 6.0)))
    # The layer read in place holds link 0 for 1 ms: 1 + 1 or 1.67; then 2 or 3.33.
    assert choices_in_order(profile, [NO, YES, YES, NO], [YES] * 4).routes == (1, 0)
