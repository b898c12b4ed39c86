"""The default policy: placement, groups and routes searched together.

Beginnings of plans are extended layer by layer; those that are no better than another in any respect, or that a lower
bound shows to be no better than the best plan known, are dropped. If nothing else had to be dropped, the result is
proven optimal. With hundreds of layers only the most promising beginnings are kept; the bounds of those given up then
say how far from the optimum the plan can be.

Where the target GPU decodes, the same search is made once more with groups that cross coded among its choices, cut by
the bounds of all plans, coded or not. Its plan is taken if it is faster by more than predictions of coded plans err,
after its groups were tried the other way one by one; plain groups are preferred in it where that is as fast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from deepplan.planning.bounds import SuffixBounds
from deepplan.planning.choices import Choices
from deepplan.planning.policies.flipping import flip_groups
from deepplan.planning.policies.load_all import load_all
from deepplan.planning.policies.paper import paper, static
from deepplan.planning.policies.pipeswitch import pipeswitch
from deepplan.planning.policies.states import IN_PLACE, OPEN, States, extend, free_to_join, undominated
from deepplan.planning.policies.thinning import thin
from deepplan.planning.profile import Profile
from deepplan.planning.simulator import latency_ms
from deepplan.planning.timeline import Placement

EXACT_LAYERS = 12  # up to here no beginning is ever given up
FIRST_WIDTH = 32  # beginnings kept by the quick passes, whose plan makes the next one cheaper
ALL_STATES = 200_000  # beginnings kept by the last pass, over all layers
ALL_CODED_STATES = 40_000  # likewise with coding, where each beginning goes on in twice as many ways
CODING_GAINS = 0.06  # the share of a plain plan's latency that coding must be predicted to gain
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


def optimal(profile: Profile, coding_gains: float = CODING_GAINS) -> Choices:
    """The fastest plan found; never slower than any other policy's, nor than without coding.

    A coded plan must be faster than the best plain one by the share `coding_gains`. Otherwise the plain one is the
    result, and its bound is one on plain plans.
    """
    found = _best_plain(replace(profile, decode_gbps=None))
    if any(profile.codable(layer) for layer in profile.layers):
        found = _best_coded(profile, found, coding_gains)
    return replace(found.choices, bound_ms=found.total_ms if found.proven else found.bound_ms)


def _best_plain(profile: Profile) -> _Found:
    bounds = SuffixBounds.of(profile)
    candidates = [policy(profile) for policy in (load_all, pipeswitch, paper, static)]
    totals = [latency_ms(profile, choices) for choices in candidates]
    best = int(np.argmin(totals))
    found = _Found(candidates[best], totals[best], bounds.whole_ms + profile.call_overhead_ms)
    return _passes(profile, bounds, found, ALL_STATES, quick=(True, False))


def _best_coded(profile: Profile, plain: _Found, coding_gains: float) -> _Found:
    """What is best with coding; `plain` unless that gains enough."""
    bounds = SuffixBounds.of(profile)
    found = _Found(plain.choices, plain.total_ms, bounds.whole_ms + profile.call_overhead_ms)
    found = _passes(profile, bounds, found, ALL_CODED_STATES, quick=(True,))
    choices = min((flip_groups(profile, each.choices) for each in (plain, found)), key=partial(latency_ms, profile))
    total_ms = latency_ms(profile, choices)
    if total_ms >= plain.total_ms * (1.0 - max(coding_gains, _SAME)):
        # Where nothing coded is faster, what was found of all plans holds for plain ones, too.
        return replace(plain, bound_ms=max(plain.bound_ms, min(found.bound_ms, plain.total_ms)))
    return _Found(choices, total_ms, min(found.bound_ms, total_ms))


def _passes(profile: Profile, bounds: SuffixBounds, found: _Found, all_states: int, quick: tuple[bool, ...]) -> _Found:
    """What searches of growing width find, from `found` on: one for each of `quick`, `early` or not as in `thin`, then
    one that keeps `all_states` beginnings in all."""
    layers = len(profile.layers)
    for early in quick:
        found = _search(profile, bounds, found, FIRST_WIDTH, early)
    if not found.proven:
        found = _search(profile, bounds, found, max(FIRST_WIDTH, all_states // layers))
    if not found.proven and layers <= EXACT_LAYERS:
        found = _search(profile, bounds, found, None)
    return found


def _search(profile: Profile, bounds: SuffixBounds, known: _Found, width: int | None, early: bool = True) -> _Found:
    """One pass over the layers that keeps at most `width` beginnings (None: all that matter); `early` as in `thin`."""
    states = States.initial(len(profile.links), coding=profile.decode_gbps is not None)
    history: list[States] = []
    given_up_ms = np.inf  # no plan that was given up is faster
    limit_ms = known.total_ms * (1.0 + _SAME)  # as good is good enough: it may have fewer groups
    for index, layer in enumerate(profile.layers):
        states = extend(states, profile, layer)
        ends = bounds.after(index + 1, states.now, free_to_join(states, profile)) + profile.call_overhead_ms
        promising = ends <= limit_ms
        if not promising.any():
            return _Found(known.choices, known.total_ms, max(known.bound_ms, min(known.total_ms, given_up_ms)))
        states, ends = states.take(promising), ends[promising]
        if width is not None and len(states) > width:
            kept, lost_ms = thin(states, ends, width, early)
            states = states.take(kept)
            given_up_ms = min(given_up_ms, lost_ms)
        elif layer.size_bytes > 0:
            states = states.take(undominated(states, profile))
        history.append(states)
    # Of plans that are as fast, the one that occupies the links least has the fewest copies.
    last = np.argmin(states.now + _SAME * states.free.sum(axis=0))
    choices = _trace_back(len(profile.links), history, int(last))
    total_ms = latency_ms(profile, choices)
    bound_ms = max(known.bound_ms, min(total_ms, known.total_ms, given_up_ms))
    if (total_ms, len(choices.routes)) < (known.total_ms, len(known.choices.routes)):
        return _Found(choices, total_ms, bound_ms)
    return _Found(known.choices, known.total_ms, bound_ms)


def _trace_back(links: int, history: list[States], position: int) -> Choices:
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
    coded = tuple(route >= links for route in routes)
    return Choices(tuple(placements), tuple(groups), tuple(route % links for route in routes), coded)
