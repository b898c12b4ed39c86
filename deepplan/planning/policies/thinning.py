"""Which beginnings of plans to go on with when there are too many."""

from __future__ import annotations

import numpy as np

from deepplan.planning.policies.states import Floats, Ints, States


def thin(states: States, ends: Floats, width: int) -> tuple[Ints, float]:
    """The positions of at most `width` promising states, and the lowest of the bounds `ends` among all others."""
    # Where bounds are equal an earlier state is worth more, and then one with fewer copies and so freer links.
    order = np.argsort(ends + 1e-3 * states.now + 1e-4 * states.free.mean(axis=0), kind="stable")
    kept, lost = order[:width], order[width:]
    return kept, float(ends[lost].min())
