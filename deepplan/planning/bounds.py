"""A lower bound on the cold-start latency of every plan for a profile."""

from __future__ import annotations

import numpy as np

from deepplan.planning.profile import Profile


def lower_bound_ms(profile: Profile) -> float:
    """No plan is faster: the links are one link of their summed rate, copies cost bytes only, nothing is shared."""
    execute = np.array([layer.execute_ms for layer in profile.layers])
    in_place = np.array([_in_place_ms(layer.execute_ms, layer.direct_host_access_ms) for layer in profile.layers])
    size = np.array([float(layer.size_bytes) for layer in profile.layers])
    in_place = np.where(size == 0, execute, in_place)
    must_cross = size[np.isinf(in_place)].sum()
    bandwidth = sum(link.bytes_per_ms for link in profile.links)
    return float(max(np.minimum(execute, in_place).sum(), must_cross / bandwidth)) + profile.call_overhead_ms


def _in_place_ms(execute_ms: float, direct_host_access_ms: float | None) -> float:
    return float("inf") if direct_host_access_ms is None else direct_host_access_ms
