"""The rule, by worked examples. 1 MB takes 0.1 ms on every link of `small_profile`; a copy costs 0.01 ms more."""

import dataclasses

import pytest

from deepplan.errors import MismatchError
from deepplan.planning.plan import Plan
from deepplan.planning.profile import LinkProfile, Profile
from deepplan.planning.simulator import simulate

MB = 1_000_000


def run(profile, placements, groups, routes):
    return simulate(profile, Plan.from_choices(profile, placements, groups, routes))


def near(*values):
    return pytest.approx(values, abs=1e-12)


def test_loaded_layers_wait_for_their_group(small_profile):
    timeline = run(small_profile(), ["load"] * 4, [0, 1, -1, 2], [0, 0, 0])
    assert [group.end_ms for group in timeline.groups] == near(4.01, 5.02, 7.03)
    assert [group.start_ms for group in timeline.groups] == near(0, 4.01, 5.02)
    assert [x.start_ms for x in timeline.layers] == near(4.01, 5.02, 7.02, 7.52)
    assert [x.end_ms for x in timeline.layers] == near(4.11, 7.02, 7.52, 8.52)
    assert [x.stall_ms for x in timeline.layers] == near(4.01, 0.91, 0, 0)
    assert timeline.total_ms == pytest.approx(8.52) and timeline.stall_ms == pytest.approx(4.92)


def test_one_group_arrives_as_a_whole(small_profile):
    timeline = run(small_profile(), ["load"] * 4, [0, 0, -1, 0], [0])
    assert timeline.groups[0].size_bytes == 70 * MB
    assert timeline.layers[0].start_ms == pytest.approx(7.01)
    assert timeline.total_ms == pytest.approx(7.01 + 3.6)


def test_reading_in_place_holds_the_targets_link_for_later_groups(small_profile):
    timeline = run(small_profile(), ["dha", "load", "dha", "load"], [-1, 0, -1, 1], [0, 0])
    # The embedding runs 0.1 ms longer in place, and that long it holds the link.
    assert [group.start_ms for group in timeline.groups] == near(0.1, 1.11)
    assert [group.end_ms for group in timeline.groups] == near(1.11, 3.12)
    assert [x.start_ms for x in timeline.layers] == near(0, 1.11, 3.11, 3.61)
    assert timeline.total_ms == pytest.approx(4.61)


def test_what_is_held_is_no_more_than_the_bytes_take(small_profile, make_layer):
    profile = Profile((make_layer("a", 1 * MB, 1.0, 5.0), make_layer("b", 10 * MB, 1.0, 1.0)), small_profile().links)
    timeline = run(profile, ["dha", "load"], [-1, 0], [0])
    assert timeline.groups[0].end_ms == pytest.approx(0.1 + 1.01)  # 5 - 1 ms longer, but only 0.1 ms of bytes


def test_reading_in_place_inside_a_group_delays_the_next_group_only(make_layer):
    in_place = {"b": 1.5}
    layers = tuple(make_layer(name, 10 * MB, 1.0, in_place.get(name)) for name in "abcd")
    profile = Profile(layers, (LinkProfile(0.01, 10.0),))
    timeline = run(profile, ["load", "dha", "load", "load"], [0, -1, 0, 1], [0, 0])
    assert [group.end_ms for group in timeline.groups] == near(2.01, 2.01 + 0.5 + 1.01)
    assert [x.start_ms for x in timeline.layers] == near(2.01, 3.01, 4.51, 5.51)


def test_helpers_are_not_held_by_reading_in_place(small_profile):
    timeline = run(small_profile(2), ["dha", "load", "dha", "load"], [-1, 0, -1, 1], [1, 0])
    assert [group.start_ms for group in timeline.groups] == near(0, 0.1)
    assert [group.end_ms for group in timeline.groups] == near(1.01, 2.11)


def test_overheads_of_groups_and_of_the_call(small_profile):
    profile = dataclasses.replace(small_profile(), group_overhead_ms=0.5, call_overhead_ms=0.25)
    timeline = run(profile, ["dha", "load", "dha", "load"], [-1, 0, -1, 1], [0, 0])
    # 0.2 in place, 0.5 overhead, wait until 1.11, run to 3.11, no parameters to 3.61, 0.5 overhead, no wait
    assert [x.start_ms for x in timeline.layers] == near(0, 1.11, 3.11, 4.11)
    assert [x.stall_ms for x in timeline.layers] == near(0, 0.41, 0, 0)
    assert timeline.total_ms == pytest.approx(5.11 + 0.25)


@pytest.fixture
def coded_profile(small_profile):
    """`small_profile` with a code that keeps 0.7 of what is coded; 10 MB are decoded in 0.1 ms, in pieces of 10 MB."""

    def make(**changes):
        layers = [dataclasses.replace(x, coded_bytes=x.size_bytes * 7 // 10) for x in small_profile().layers]
        profile = dataclasses.replace(small_profile(), layers=layers, decode_gbps=100.0)
        return dataclasses.replace(profile, **{"coded_piece_bytes": 10 * MB, **changes})

    return make


def run_coded(profile, groups, routes, coded):
    plan = Plan.from_choices(profile, ["load"] * 4, groups, routes, coded=coded)
    assert simulate(profile, plan) == plan.timeline
    return plan.timeline


def test_a_coded_group_crosses_with_fewer_bytes_and_its_last_piece_is_decoded_after_them(coded_profile):
    timeline = run_coded(coded_profile(), [0, 1, -1, 2], [0, 0, 0], [True, False, True])
    # 40 MB in 4 pieces, as 28 MB: 4 * 0.01 + 2.8, then 0.1 to decode the last; the link is free before that.
    # Then 10 MB plain, then 20 MB in 2 pieces, as 14 MB.
    assert [group.start_ms for group in timeline.groups] == near(0, 2.84, 3.85)
    assert [group.end_ms for group in timeline.groups] == near(2.94, 3.85, 5.37)
    assert [group.coded for group in timeline.groups] == [True, False, True]
    assert [group.coded_bytes for group in timeline.groups] == [28 * MB, None, 14 * MB]
    assert [group.crossing_bytes for group in timeline.groups] == [28 * MB, 10 * MB, 14 * MB]
    # What the first group's decoding slows, 0.8, is hidden in the wait. The third's, 0.4, is not: 3.85 + 2 + 0.5 + 0.4.
    assert [x.start_ms for x in timeline.layers] == near(2.94, 3.85, 5.85, 6.75)
    assert [x.stall_ms for x in timeline.layers] == near(2.14, 0.81, 0, 0)
    assert timeline.total_ms == pytest.approx(7.75)


def test_a_group_smaller_than_a_piece_is_one_copy_decoded_as_a_whole(coded_profile):
    timeline = run_coded(coded_profile(coded_piece_bytes=1000 * MB), [0, 0, -1, 0], [0], [True])
    assert timeline.groups[0].end_ms == pytest.approx(0.01 + 4.9 + 0.7)
    assert timeline.total_ms == pytest.approx(5.61 + 3.6)


def test_pieces_are_counted_over_the_group_and_the_last_may_be_small(coded_profile):
    timeline = run_coded(coded_profile(coded_piece_bytes=30 * MB), [0, 0, -1, 0], [0], [True])
    assert timeline.groups[0].end_ms == pytest.approx(3 * 0.01 + 4.9 + 0.3)  # 70 MB


def test_each_piece_pays_the_latency_of_its_link_and_the_last_a_wait_more(coded_profile):
    links = (LinkProfile(0.01, 10.0), LinkProfile(0.5, 20.0))
    profile = coded_profile(links=links, group_overhead_ms=0.25)
    timeline = run_coded(profile, [0, 0, -1, 0], [1], [True])
    assert timeline.groups[0].end_ms == pytest.approx(7 * 0.5 + 2.45 + 0.25 + 0.1)
    assert timeline.layers[0].stall_ms == pytest.approx(6.3 - 0.25 - 1.4)


def test_a_coded_plan_needs_a_profile_that_decodes(coded_profile, small_profile):
    plan = Plan.from_choices(coded_profile(), ["load"] * 4, [0, 1, -1, 2], [0, 0, 0], coded=[False, True, False])
    with pytest.raises(MismatchError, match=r"group 1 cannot cross coded: the profile has no decode_gbps"):
        simulate(small_profile(), plan)


def test_a_layer_faster_in_place_holds_nothing(make_layer):
    profile = Profile((make_layer("a", MB, 1.0, 0.5), make_layer("b", 10 * MB, 1.0, 1.0)), (LinkProfile(0.0, 10.0),))
    assert run(profile, ["dha", "load"], [-1, 0], [0]).groups[0].start_ms == 0


def test_a_plan_for_some_links_is_simulated_with_the_whole_profile(small_profile):
    links = (LinkProfile(0.01, 10.0), LinkProfile(0.02, 20.0), LinkProfile(0.03, 40.0))
    profile = dataclasses.replace(small_profile(), links=links)
    choices = (["dha", "load", "dha", "load"], [-1, 0, -1, 1], [0, 1])
    plan = Plan.from_choices(profile, *choices, links=[2, 0])
    restricted = profile.with_links([2, 0])
    assert simulate(profile, plan) == plan.timeline == run(restricted, *choices)


def test_a_plan_for_another_model_or_more_links_is_refused(small_profile):
    profile = small_profile(2)
    plan = Plan.from_choices(profile, ["dha", "load", "dha", "load"], [-1, 0, -1, 1], [0, 1])
    with pytest.raises(MismatchError, match="links"):
        simulate(small_profile(1), plan)
    with pytest.raises(MismatchError, match="differ from layer 3"):
        simulate(dataclasses.replace(profile, layers=profile.layers[:3]), plan)


def test_the_timeline_says_what_it_is_of(small_profile):
    profile = small_profile(model="tiny", devices=("cuda:0",))
    timeline = run(profile, ["dha", "load", "dha", "load"], [-1, 0, -1, 0], [0])
    found = (timeline.kind, timeline.model, timeline.policy, timeline.devices)
    assert found == ("predicted", "tiny", "custom", ("cuda:0",))
