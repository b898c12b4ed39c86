import dataclasses

import pytest

from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan

MB = 1_000_000

GOOD = dict(placements=["dha", "load", "dha", "load"], groups=[-1, 0, -1, 1], routes=[0, 1])


def test_choices_become_layers_with_their_group_and_route(small_profile):
    plan = Plan.from_choices(small_profile(2), **GOOD)
    assert [layer.placement for layer in plan.layers] == ["dha", "load", "dha", "load"]
    assert [layer.group for layer in plan.layers] == [-1, 0, -1, 1]
    assert [layer.route for layer in plan.layers] == [-1, 0, -1, 1]
    assert plan.routes == (0, 1)
    assert plan.loaded_bytes == 30 * MB and plan.direct_host_access_bytes == 40 * MB


def test_a_plan_keeps_what_its_profile_was_made_for(small_profile):
    origin = dict(model="tiny", model_digest="ab", dtype="fp32", batch_size=4, machine="box", torch="2.13")
    plan = Plan.from_choices(small_profile(2, devices=("cuda:1", "cuda:3"), **origin), **GOOD)
    assert plan.origin == {**origin, "devices": ("cuda:1", "cuda:3")}


@pytest.mark.parametrize("placement, group", [("load", 0), ("load", -1), ("dha", -1), ("dha", 0)])
def test_layers_without_parameters_are_recorded_as_dha_whatever_is_given(placement, group, small_profile):
    choices = dict(placements=["dha", "load", placement, "load"], groups=[-1, 0, group, 1], routes=[0, 1])
    assert Plan.from_choices(small_profile(2), **choices) == Plan.from_choices(small_profile(2), **GOOD)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(placements=["dha"]), "placements"),
        (dict(placements=["dha", "copy", "dha", "load"]), r"placements\[1\] is 'copy'"),
        (dict(placements=["dha", "load", "dha", "dha"], groups=[-1, 0, -1, -1], routes=[0]), "layer 3 .second. cannot"),
        (dict(groups=[-1, 0, -1]), "groups"),
        (dict(groups=[-1, 1, -1, 0]), r"layer 1 .first.: group is 1"),
        (dict(groups=[-1, 0, -1, 2]), r"layer 3 .second.: group is 2"),
        (dict(groups=[-1, -1, -1, 0]), r"layer 1 .first.: group is -1"),
        (dict(groups=[0, 1, -1, 2]), r"layer 0 .embedding.: group is 0"),
        (dict(routes=[0]), "routes"),
        (dict(routes=[0, 1, 0]), "routes"),
        (dict(routes=[0, 2]), r"routes\[1\] is 2"),
        (dict(routes=[0, -1]), r"routes\[1\] is -1"),
        (dict(links=[0, 0]), "links"),
    ],
)
def test_choices_that_are_no_plan_are_refused(change, message, small_profile):
    with pytest.raises(InvalidInputError, match=message):
        Plan.from_choices(small_profile(2), **{**GOOD, **change})


def test_a_plan_may_use_some_of_the_links_in_another_order(small_profile):
    profile = small_profile(3, devices=("a", "b", "c"))
    plan = Plan.from_choices(profile, **GOOD, links=[2, 0])
    assert plan.links == (2, 0) and plan.devices == ("c", "a") and plan.routes == (0, 1)


@pytest.mark.parametrize(
    "index, change",
    [
        (0, dict(group=0)),
        (0, dict(placement="load")),
        (1, dict(route=1)),
        (1, dict(placement="dha")),
        (2, dict(placement="load")),
        (3, dict(group=0)),
        (3, dict(size_bytes=1)),
        (3, dict(name="third")),
    ],
)
def test_an_inconsistent_plan_is_refused(index, change, small_profile):
    plan = Plan.from_choices(small_profile(2), **GOOD)
    layers = list(plan.layers)
    layers[index] = dataclasses.replace(layers[index], **change)
    with pytest.raises(InvalidInputError):
        dataclasses.replace(plan, layers=tuple(layers))


@pytest.fixture
def coded_profile(small_profile):
    """Two links; 10 MB of `first` cross as 7, `second` has no code."""
    profile = small_profile(2, model="tiny", dtype="fp32")
    layers = list(profile.layers)
    layers[1] = dataclasses.replace(layers[1], coded_bytes=7 * MB)
    return dataclasses.replace(profile, layers=layers, decode_gbps=1000.0)


def test_groups_cross_coded_where_that_is_chosen(coded_profile):
    plan = Plan.from_choices(coded_profile, **GOOD, coded=[True, False])
    assert plan.coded == (True, False)
    assert (plan.loaded_bytes, plan.crossing_bytes) == (30 * MB, 27 * MB)
    assert (plan.coded_plain_bytes, plan.coded_bytes) == (10 * MB, 7 * MB)
    plain = Plan.from_choices(coded_profile, **GOOD)
    assert plain == Plan.from_choices(coded_profile, **GOOD, coded=[False, False])
    assert (plain.coded, plain.crossing_bytes, plain.coded_bytes) == ((False, False), 30 * MB, 0)


@pytest.mark.parametrize(
    "coded, message",
    [
        ([True], "coded"),
        ([True, False, False], "coded"),
        (["yes", False], r"coded\[0\]"),
        ([False, True], "group 1 cannot cross coded: its layer second has no coded_bytes"),
    ],
)
def test_groups_that_cannot_cross_coded_are_refused(coded, message, coded_profile):
    with pytest.raises(InvalidInputError, match=message):
        Plan.from_choices(coded_profile, **GOOD, coded=coded)


def test_nothing_is_coded_for_a_target_that_does_not_decode(coded_profile):
    with pytest.raises(InvalidInputError, match="group 0 cannot cross coded: the profile has no decode_gbps"):
        Plan.from_choices(dataclasses.replace(coded_profile, decode_gbps=None), **GOOD, coded=[True, False])


def test_printing_marks_coded_groups(coded_profile):
    lines = str(Plan.from_choices(coded_profile, **GOOD, coded=[True, False])).splitlines()
    assert lines[3] == "10.00 MB of it cross coded as 7.00 MB in 1 groups (c); 27.00 MB cross in all"
    assert lines[6].split() == ["1", "first", "Linear", "10.000", "load", "0c", "0"]
    assert lines[8].split() == ["3", "second", "Linear", "20.000", "load", "1", "1"]


def test_printing_shows_the_table_of_layers(small_profile):
    plan = Plan.from_choices(small_profile(2, model="tiny", dtype="fp32"), **GOOD)
    lines = str(plan).splitlines()
    assert lines[0] == "tiny (fp32, batch 1), policy custom"
    assert lines[1].startswith(f"predicted {plan.predicted_ms:.3f} ms")
    assert lines[2] == "30.00 MB loaded in 2 groups over 2 of 2 links, 40.00 MB read in place"
    assert lines[3].split() == ["layer", "type", "MB", "choice", "group", "route"]
    assert [line.split() for line in lines[4:]] == [
        ["0", "embedding", "Embedding", "40.000", "DHA"],
        ["1", "first", "Linear", "10.000", "load", "0", "0"],
        ["2", "relu", "ReLU", "-"],
        ["3", "second", "Linear", "20.000", "load", "1", "1"],
    ]
