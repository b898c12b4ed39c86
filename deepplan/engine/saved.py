"""What lies in a store for a model on some devices, unless deepplan decodes weights there since, or no longer does.

A build without CUDA's compiler cannot decode on GPUs, and another one can: a profile without a rate of decoding, or a
plan of coded groups, is of no use to the other.
"""

from __future__ import annotations

from deepplan.engine.coding import can_cross_coded
from deepplan.engine.devices import Devices
from deepplan.engine.origin import origin_of
from deepplan.engine.source import Source
from deepplan.engine.store import Store
from deepplan.planning.plan import Plan
from deepplan.planning.profile import Profile


def saved_profile(store: Store, source: Source, devices: Devices) -> Profile | None:
    """The saved profile of this very case. Raises DocumentError, naming the file, if it is damaged."""
    found = store.find_profile(origin_of(source, devices))
    return found if found is None or _fits(found.decode_gbps is not None, source, devices) else None


def saved_plan(store: Store, source: Source, devices: Devices, policy: str, coding: bool = True) -> Plan | None:
    """The saved plan of this very case, which goes with its profile where there is one. Raises DocumentError, too."""
    origin = origin_of(source, devices)
    found = store.find_plan(origin, policy, coding)
    if found is None or (any(found.coded) and not can_cross_coded(source.captured.graph, devices)):
        return None
    made_from = store.find_profile(origin)
    return found if made_from is None or _fits(made_from.decode_gbps is not None, source, devices) else None


def _fits(decodes: bool, source: Source, devices: Devices) -> bool:
    return decodes == can_cross_coded(source.captured.graph, devices)
