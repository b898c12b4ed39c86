"""DeepPlan's own planners, as its public artifact has them.

Source: Jeong, Baek and Ahn, DeepPlan, EuroSys'23, section 4.3, and its artifact. Each loaded layer is a group of
its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepplan.planning.choices import Choices
from deepplan.planning.policies.routing import choices_in_order
from deepplan.planning.profile import LayerProfile, Profile

OVERLOAD = 1.5  # in-place reading may cost this many times the load, beyond execution


@dataclass(frozen=True)
class _Times:
    """What the artifact measures of a layer, in ms; `host` is infinite where the layer cannot be read in place."""

    size: int
    load: float
    execute: float
    host: float


def paper(profile: Profile) -> Choices:
    """The artifact's dynamic plan: layers are read in place, cheapest first, until each stall is covered."""
    layers = [_times(layer) for layer in profile.layers]
    loads = [layer.size > 0 for layer in layers]
    stalls = _stalls(layers, loads)
    for step in range(len(layers) + 1):
        stall = stalls[step]
        if stall <= 0:
            continue
        by_cost = sorted(range(step), key=lambda i: (layers[i].host - layers[i].execute, -layers[i].load))
        for index in by_cost:
            layer = layers[index]
            if not loads[index]:
                continue
            extra = layer.host - layer.execute
            if layer.host > layer.execute + OVERLOAD * layer.load or stall < extra:
                break
            loads[index] = False
            stall -= layer.load + extra
            if stall <= 0:
                stalls = _stalls(layers, loads)
                break
    return choices_in_order(profile, loads, loads)


def static(profile: Profile) -> Choices:
    """The artifact's static plan: normalisation and embeddings, and whatever is sooner done in place, one by one."""
    loads = [not _statically_in_place(layer) for layer in profile.layers]
    return choices_in_order(profile, loads, loads)


def _statically_in_place(layer: LayerProfile) -> bool:
    in_place_ms = layer.direct_host_access_ms
    if in_place_ms is None:
        return False
    by_type = "BatchNorm" in layer.type or "Embedding" in layer.type
    return by_type or in_place_ms < layer.execute_ms + layer.load_ms


def _times(layer: LayerProfile) -> _Times:
    host = layer.direct_host_access_ms
    if host is None:
        host = math.inf if layer.size_bytes > 0 else layer.execute_ms
    return _Times(layer.size_bytes, layer.load_ms, layer.execute_ms, host)


def _stalls(layers: list[_Times], loads: list[bool]) -> list[float]:
    """The stall before the first layer (none) and at each layer, on the artifact's timeline."""
    ready = 0.0  # how far execution lags behind the loads that are done
    stalls = [0.0]
    for layer, load in zip(layers, loads):
        stall = 0.0
        if load:
            ready -= layer.load
            if ready < 0:
                stall, ready = -ready, 0.0
            ready += layer.execute
        else:
            ready += layer.host
        stalls.append(stall)
    return stalls
