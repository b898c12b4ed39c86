"""Lower bounds on the cold-start latency of every plan that continues a given beginning.

No link is ever free later than the execution decided so far ends: a loaded layer waits for its group, and reading in
place takes at least as long as it holds the link. So for every layer j the end is no sooner than the links' mean free
time, after all that is loaded up to j and read in place before j, plus the execution from j on; and no sooner than the
time now plus the execution of all that is left. Copies are taken to cost their bytes only, and a layer may be placed in
part. Any weighted mean of these is a bound as well, and in it each layer can be placed for itself. Weighting gives
layer k's execution a factor m_k, its copy 1 - m_(k-1) and its in-place read 1 - m_k, with 0 <= m_0 <= m_1 <= ... <= 1,
so the best weights are a dynamic programme over a grid.

A layer that crosses coded adds its coded bytes to a link and its decoding to the time now. Both happen where its group
begins, at layer i, which may lie before it: the copy has the factor 1 - m_(i-1), the decoding m_(i-1). If it joins a
group whose arrival is waited for, its decoding is hidden, but its copy is not. So of its decoding no more is counted
than its copy takes over all links together: the sum is then the smaller the later the group begins, and its own
m_(k-1) can stand for m_(i-1). Of the pieces' latencies each layer has the share of its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deepplan.planning.profile import Profile

Floats = NDArray[np.float64]
GRID = np.linspace(0.0, 1.0, 33)


@dataclass(frozen=True, eq=False)
class SuffixBounds:
    """`suffix[i, g]` bounds what layers i.. add (ms) if the time now weighs GRID[g] and the links' the rest."""

    suffix: Floats
    link_weights: Floats

    @classmethod
    def of(cls, profile: Profile) -> SuffixBounds:
        """The bounds for every beginning of a plan for `profile`; groups may cross coded if its target decodes."""
        rates = np.array([link.bytes_per_ms for link in profile.links])
        suffix = np.zeros((len(profile.layers) + 1, len(GRID)))
        before, after = GRID[:, None], GRID[None, :]
        decreasing = np.where(after < before, -np.inf, 0.0)
        for index in range(len(profile.layers) - 1, -1, -1):
            layer = profile.layers[index]
            cost = after * layer.execute_ms + (1.0 - before) * (layer.size_bytes / rates.sum())
            if layer.coded_bytes is not None and profile.codable(layer):
                copy_ms = layer.coded_bytes / rates.sum()
                pieces = layer.size_bytes / profile.coded_piece_bytes
                latency_ms = pieces * min(link.latency_ms * link.bytes_per_ms for link in profile.links) / rates.sum()
                decode_ms = min(profile.decoding_slows_ms(layer.size_bytes), copy_ms)
                coded = after * layer.execute_ms + (1.0 - before) * (copy_ms + latency_ms) + before * decode_ms
                cost = np.minimum(cost, coded)
            if layer.size_bytes > 0 and layer.direct_host_access_ms is not None:
                held_ms = profile.link_held_ms(layer) * (rates[0] / rates.sum())
                cost = np.minimum(cost, after * layer.direct_host_access_ms + (1.0 - after) * held_ms)
            suffix[index] = (cost + decreasing + suffix[index + 1][None, :]).max(axis=1)
        return cls(suffix, rates / rates.sum())

    def after(self, layers: int, now: Floats, free: Floats) -> Floats:
        """Bounds (ms) on the end of plans whose first `layers` layers are decided.

        `now` (states) is when those are executed, `free` (links, states) when each link is free again, without the part
        of a last coded piece's latency that more layers in it would share.
        """
        if layers == len(self.suffix) - 1:
            return now
        links = self.link_weights @ free
        weighted = links + GRID[:, None] * (now - links) + self.suffix[layers][:, None]
        bounds: Floats = weighted.max(axis=0)
        return bounds

    @cached_property
    def whole_ms(self) -> float:
        """The bound on any plan at all."""
        return float(self.suffix[0].max())


def lower_bound_ms(profile: Profile) -> float:
    """No plan for `profile` has a lower latency."""
    return SuffixBounds.of(profile).whole_ms + profile.call_overhead_ms
