"""The default policy: placement, groups and routes searched together.

Beginnings of plans are extended layer by layer; those that are no better than another in any respect, or that a lower
bound shows to be no better than the best plan known, are dropped. If nothing else had to be dropped, the result is
proven optimal. With hundreds of layers only the most promising beginnings are kept; the bounds of those given up then
say how far from the optimum the plan can be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepplan.planning.bounds import SuffixBounds
from deepplan.planning.choices import Choices
from deepplan.planning.policies.load_all import load_all
from deepplan.planning.policies.paper import paper, static
from deepplan.planning.policies.pipeswitch import pipeswitch
from deepplan.planning.policies.states import IN_PLACE, OPEN, States, extend, undominated
from deepplan.planning.policies.thinning import thin
from deepplan.planning.profile import Profile
from deepplan.planning.simulator import latency_ms
from deepplan.planning.timeline import Placement

EXACT_LAYERS = 12  # up to here no beginning is ever given up
FIRST_WIDTH = 32  # beginnings kept by the quick passes, whose plan makes the next one cheaper
ALL_STATES = 200_000  # beginnings kept by the last pass, over all layers
_SAME = 1e-12  # relative difference below which two latencies are the same


@dataclass(frozen=True)
class _Found:
    """The best plan known and a proven lower bound on all of them."""

    choices: Choices
    total_ms: float
    bound_ms: float

    @property
    def proven(self) -> bool:
        return self.bound_ms >= self.total_ms * (1.0 - _SAME)


def optimal(profile: Profile) -> Choices:
    """The fastest plan found; never slower than any other policy's."""
    bounds = SuffixBounds.of(profile)
    candidates = [policy(profile) for policy in (load_all, pipeswitch, paper, static)]
    totals = [latency_ms(profile, choices) for choices in candidates]
    best = int(np.argmin(totals))
    found = _Found(candidates[best], totals[best], bounds.whole_ms + profile.call_overhead_ms)
    layers = len(profile.layers)
    for early in (True, False):
        found = _search(profile, bounds, found, FIRST_WIDTH, early)
    if not found.proven:
        found = _search(profile, bounds, found, max(FIRST_WIDTH, ALL_STATES // layers))
    if not found.proven and layers <= EXACT_LAYERS:
        found = _search(profile, bounds, found, None)
    return replace(found.choices, bound_ms=found.total_ms if found.proven else found.bound_ms)


def _search(profile: Profile, bounds: SuffixBounds, known: _Found, width: int | None, early: bool = True) -> _Found:
    """One pass over the layers that keeps at most `width` beginnings (None: all that matter); `early` as in `thin`."""
    states = States.initial(len(profile.links))
    history: list[States] = []
    given_up_ms = np.inf  # no plan that was given up is faster
    limit_ms = known.total_ms * (1.0 + _SAME)  # as good is good enough: it may have fewer groups
    for index, layer in enumerate(profile.layers):
        states = extend(states, profile, layer)
        ends = bounds.after(index + 1, states.now, states.free) + profile.call_overhead_ms
        promising = ends <= limit_ms
        if not promising.any():
            return _Found(known.choices, known.total_ms, max(known.bound_ms, min(known.total_ms, given_up_ms)))
        states, ends = states.take(promising), ends[promising]
        if width is not None and len(states) > width:
            kept, lost_ms = thin(states, ends, width, early)
            states = states.take(kept)
            given_up_ms = min(given_up_ms, lost_ms)
        elif layer.size_bytes > 0:
            states = states.take(undominated(states))
        history.append(states)
    # Of plans that are as fast, the one that occupies the links least has the fewest copies.
    last = np.argmin(states.now + _SAME * states.free.sum(axis=0))
    choices = _trace_back(profile, history, int(last))
    total_ms = latency_ms(profile, choices)
    bound_ms = max(known.bound_ms, min(total_ms, known.total_ms, given_up_ms))
    if (total_ms, len(choices.routes)) < (known.total_ms, len(known.choices.routes)):
        return _Found(choices, total_ms, bound_ms)
    return _Found(known.choices, known.total_ms, bound_ms)


def _trace_back(profile: Profile, history: list[States], position: int) -> Choices:
    """The choices that led to the state at `position` of the last layer."""
    actions: list[int] = []
    for states in reversed(history):
        actions.append(int(states.action[position]))
        position = int(states.parent[position])
    placements: list[Placement] = []
    groups: list[int] = []
    routes: list[int] = []
    for action in reversed(actions):
        if action >= OPEN:
            routes.append(action - OPEN)
        placements.append("dha" if action == IN_PLACE else "load")
        groups.append(-1 if action == IN_PLACE else len(routes) - 1)
    return Choices(tuple(placements), tuple(groups), tuple(routes))
