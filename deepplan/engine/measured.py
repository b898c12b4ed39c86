"""A measured run as a timeline, like the simulator's."""

from __future__ import annotations

import dataclasses

from deepplan import _core
from deepplan.planning.plan import Plan
from deepplan.planning.timeline import Timeline, TimelineGroup, TimelineLayer


def measured_timeline(plan: Plan, times: _core.RunTimes, devices: tuple[str, ...]) -> Timeline:
    """`times` of a run by `plan`. A warm run has no groups and no stalls."""
    layers: list[TimelineLayer] = []
    previous_end_ms, waited_group = 0.0, -1
    for planned, measured in zip(plan.layers, times.layers, strict=True):
        group = planned.group if times.cold else -1
        waits = group > waited_group  # the first layer of its group
        waited_group = max(waited_group, group)
        # Device clocks tick in half microseconds: an interval can come out a tick negative.
        start_ms = max(measured.start_ms, previous_end_ms)
        stall_ms = start_ms - previous_end_ms if waits else 0.0
        end_ms = max(measured.end_ms, start_ms)
        layers.append(
            TimelineLayer(planned.name, planned.placement, group, start_ms, end_ms, stall_ms, planned.size_bytes)
        )
        previous_end_ms = end_ms
    groups: list[TimelineGroup] = []
    for index, (planned_group, time) in enumerate(zip(plan.timeline.groups, times.groups)):
        # A group's clock is read a little after its arrival: a layer that waited for it may have begun by then.
        needed_ms = next(layer.start_ms for layer in layers if layer.group == index)
        start_ms = min(max(0.0, time.start_ms), needed_ms)
        end_ms = max(start_ms, min(time.end_ms, needed_ms))
        groups.append(dataclasses.replace(planned_group, start_ms=start_ms, end_ms=end_ms))
    return Timeline(
        layers=tuple(layers),
        groups=tuple(groups),
        total_ms=max(times.total_ms, 0.0),
        kind="measured",
        model=plan.model,
        policy=plan.policy,
        devices=devices,
    )
