"""A plan's groups tried coded and plain, one by one."""

from __future__ import annotations

from dataclasses import replace

from deepplan.planning.choices import Choices
from deepplan.planning.profile import Profile
from deepplan.planning.simulator import latency_ms

SWEEPS = 2
_SAME = 1e-12  # relative difference below which two latencies are the same


def flip_groups(profile: Profile, choices: Choices) -> Choices:
    """`choices` with each group the other way where that is faster, and plain where that is as fast.

    From the last group to the first: what a later group gains does not depend on whether an earlier one arrives.
    """
    codable = [True] * len(choices.routes)
    for layer, group in zip(profile.layers, choices.groups):
        if group >= 0 and not profile.codable(layer):
            codable[group] = False
    best, best_ms = list(choices.coded), latency_ms(profile, choices)
    for _ in range(SWEEPS):
        before = list(best)
        for group in reversed(range(len(best))):
            if not codable[group]:
                continue
            flipped = [code != (other == group) for other, code in enumerate(best)]
            total_ms = latency_ms(profile, choices, flipped)
            if total_ms <= best_ms * (1.0 + _SAME) if best[group] else total_ms < best_ms * (1.0 - _SAME):
                best, best_ms = flipped, min(total_ms, best_ms)
        if best == before:
            break
    return replace(choices, coded=tuple(best))
