"""Which beginnings of plans to go on with when there are too many."""

from __future__ import annotations

import numpy as np

from deepplan.planning.policies.states import Floats, Ints, States

_TIE = 1e-3  # small: they only order beginnings whose bounds are about equal


def thin(states: States, ends: Floats, width: int, early: bool) -> tuple[Ints, float]:
    """The positions of the `width` most promising states, and the lowest of the bounds `ends` (ms) among all others.

    Of states with equal bounds those with freer links come first: they have fewer copies. With `early` those that are
    executed sooner come before them. Neither order is always the better one.
    """
    links = states.free.mean(axis=0)
    rank = ends + _TIE * (states.now + 0.1 * links if early else links)
    order = np.argsort(rank, kind="stable")
    return order[:width], float(ends[order[width:]].min())
