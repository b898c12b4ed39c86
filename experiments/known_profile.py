"""A model's profile for scripts that measure something else."""

from __future__ import annotations

from pathlib import Path

from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.engine.profiler import profile_source
from deepplan.engine.source import Source
from deepplan.planning.profile import Profile


def known_profile(source: Source, devices: Devices, profiles: Path, budget_s: float | None = None) -> Profile:
    """This machine's profile in `profiles` if it is of this very model and these devices, else a new one.

    `budget_s` is that of `profile_source`.
    """
    path = profiles / machine.machine_name(devices) / f"{source.name}-{source.dtype}-b{source.batch_size}.json"
    if path.exists():
        known = Profile.load(path)
        if known.model_digest == source.captured.graph.model_digest and set(devices.names) <= set(known.devices):
            return known
    return profile_source(source, devices, source.tensor_inputs(), lambda share: None, budget_s=budget_s)
