"""A measured run as a timeline, like the simulator's."""

from __future__ import annotations

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
    sizes = [0] * len(plan.routes)
    for planned in plan.layers:
        if planned.group >= 0:
            sizes[planned.group] += planned.size_bytes
    groups = tuple(
        TimelineGroup(route, size_bytes, max(0.0, time.start_ms), max(0.0, time.start_ms, time.end_ms))
        for route, size_bytes, time in zip(plan.routes, sizes, times.groups)
    )
    return Timeline(
        layers=tuple(layers),
        groups=groups,
        total_ms=max(times.total_ms, 0.0),
        kind="measured",
        model=plan.model,
        policy=plan.policy,
        devices=devices,
    )
