"""A measured timeline is a sound one, whatever the clocks said."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deepplan
from deepplan.engine.measured import measured_timeline
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile


@dataclass
class Interval:
    start_ms: float
    end_ms: float


@dataclass
class Times:
    """What the runtime measured of a run."""

    layers: list[Interval]
    groups: list[Interval] = field(default_factory=list)
    cold: bool = True
    total_ms: float = 100.0


def plan_of(groups: list[int]) -> deepplan.Plan:
    """A plan whose layers are loaded in these groups over two links, -1 for those that are read in place."""
    layers = tuple(LayerProfile(f"layer{i}", "Linear", 1000, 0.1, 0.1, 0.2) for i in range(len(groups)))
    profile = Profile(layers=layers, links=(LinkProfile(0.01, 4.0),) * 2, model="stack", devices=("host:0", "host:1"))
    placements = ["load" if group >= 0 else "dha" for group in groups]
    return deepplan.Plan.from_choices(profile, placements, groups, [i % 2 for i in range(max(groups) + 1)])


def test_a_stall_is_the_gap_before_the_first_layer_of_a_group() -> None:
    plan = plan_of([-1, 0, 0, 1, -1])
    times = Times(
        layers=[Interval(0.5, 1), Interval(3, 4), Interval(4.5, 5), Interval(8, 9), Interval(10, 11)],
        groups=[Interval(0, 2.5), Interval(1, 7.5)],
        total_ms=12,
    )
    timeline = measured_timeline(plan, times, ("host:2", "host:3"))  # type: ignore[arg-type]
    assert [layer.stall_ms for layer in timeline.layers] == [0, 2, 0, 3, 0]
    assert [Interval(layer.start_ms, layer.end_ms) for layer in timeline.layers] == times.layers
    assert [(group.start_ms, group.end_ms) for group in timeline.groups] == [(0, 2.5), (1, 7.5)]
    assert [group.size_bytes for group in timeline.groups] == [2000, 1000]
    assert (timeline.kind, timeline.model, timeline.total_ms) == ("measured", "stack", 12)
    assert timeline.devices == ("host:2", "host:3")


def test_a_warm_run_has_no_groups_and_no_stalls() -> None:
    times = Times(layers=[Interval(1, 2), Interval(5, 6)], cold=False)
    timeline = measured_timeline(plan_of([0, 1]), times, ("host:0", "host:1"))  # type: ignore[arg-type]
    assert timeline.groups == ()
    assert [layer.group for layer in timeline.layers] == [-1, -1]
    assert timeline.stall_ms == 0


def test_clocks_that_were_read_late_are_put_right() -> None:
    """A layer seems to start a tick before the one before it ended, a group to end after its layer began."""
    times = Times(
        layers=[Interval(1, 2), Interval(1.9995, 1.999)],
        groups=[Interval(-0.001, 1.001), Interval(2.5, 2.6)],
        total_ms=-0.001,
    )
    timeline = measured_timeline(plan_of([0, 1]), times, ("host:0", "host:1"))  # type: ignore[arg-type]
    assert [(layer.start_ms, layer.end_ms, layer.stall_ms) for layer in timeline.layers] == [(1, 2, 1), (2, 2, 0)]
    assert [(group.start_ms, group.end_ms) for group in timeline.groups] == [(0, 1), (2, 2)]
    assert timeline.total_ms == 0


def test_times_of_another_number_of_layers_are_a_defect() -> None:
    with pytest.raises(ValueError, match="shorter"):
        measured_timeline(plan_of([0, 1]), Times(layers=[Interval(0, 1)]), ("host:0",))  # type: ignore[arg-type]


GROUPS = [[0], [0, 0, 0], [-1, 0, -1, 1, 1, 2], [0, 1, 2, 3, 4], [-1, -1, 0]]
clocks = st.builds(Interval, st.floats(-1, 50), st.floats(-1, 50))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), groups=st.sampled_from(GROUPS), total_ms=st.floats(-1, 100))
def test_whatever_the_clocks_say_the_timeline_is_sound(data: st.DataObject, groups: list[int], total_ms: float) -> None:
    plan = plan_of(groups)
    times = Times(
        layers=data.draw(st.lists(clocks, min_size=len(groups), max_size=len(groups))),
        groups=data.draw(st.lists(clocks, min_size=max(groups) + 1, max_size=max(groups) + 1)),
        total_ms=total_ms,
    )
    timeline = measured_timeline(plan, times, ("host:0", "host:1"))  # type: ignore[arg-type]
    end_ms, seen = 0.0, -1
    for layer, group in zip(timeline.layers, groups, strict=True):
        assert end_ms <= layer.start_ms <= layer.end_ms
        assert layer.stall_ms == (layer.start_ms - end_ms if group > seen else 0)
        assert layer.group == group
        end_ms, seen = layer.end_ms, max(seen, group)
    for index, copied in enumerate(timeline.groups):
        needed_ms = timeline.layers[groups.index(index)].start_ms
        assert 0 <= copied.start_ms <= copied.end_ms <= needed_ms
    assert len(timeline.groups) == max(groups) + 1
    assert timeline.total_ms >= 0
