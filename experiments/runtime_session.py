"""A model in the runtime itself, for measurements that need plans or links that no planner would choose."""

from __future__ import annotations

import torch

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.engine.filling import fill
from deepplan.engine.source import Source


def open_session(
    source: Source, devices: Devices, plan: _core.ExecutionPlan, links: _core.Links | None = None
) -> _core.Session:
    """`source` in pinned host memory, to be run by `plan`; `links` replaces those that the process shares."""
    program = _core.Program(source.captured.graph, devices.torch_target)
    session = _core.Session(source.name, program, links or machine.links(devices), plan)
    fill(session, source.captured)
    return session


def timed_cold_run(session: _core.Session, inputs: list[torch.Tensor], devices: Devices) -> _core.RunTimes:
    """One cold start with clocks around its layers and groups."""
    session.evict()
    machine.synchronize(devices)
    session.set_timed(True)
    try:
        session.run(inputs)
        times = session.last_times()
    finally:
        session.set_timed(False)
    assert times is not None  # the run was timed
    machine.synchronize(devices)
    return times


def transfer_ms(times: _core.RunTimes) -> float:
    """From the first group's departure to the last one's arrival."""
    return max(group.end_ms for group in times.groups) - min(group.start_ms for group in times.groups)
