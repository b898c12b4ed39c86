"""Beginnings of plans, compared by what they leave to the layers that follow.

After some layers are decided, the rest of a plan sees only this of them: `now`, when they are executed; `held`, when
they would be executed if nothing but the arrival of the last group counted (more bytes in that group move it, and `now`
with it once it is the later); and when each link is free. Every step of the rule is monotone in all of these, so a
beginning that is no better in any of them than another one, and whose last group travels on the same link, can be
forgotten. A group's bytes are thus never guessed: as long as it is open its arrival is that of the bytes so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepplan.planning.profile import LayerProfile, Profile

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

IN_PLACE, JOIN, OPEN = 0, 1, 2  # what a state did with its last layer; OPEN + k opens a group on link k
NOW, HELD, FREE = 0, 1, 2  # rows of `times`; FREE + k is link k's
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class States:
    """Some beginnings of equal length. `times`: (2 + links, states), ms. `route` (states): of the last group, or -1.

    `parent` (states) is the position, among the states one layer before, of the one it extends by `action` (states).
    """

    times: Floats
    route: Ints
    parent: Ints
    action: Ints

    @classmethod
    def initial(cls, links: int) -> States:
        """The one beginning with no layers."""
        none = np.array([-1])
        return cls(np.zeros((2 + links, 1)), none, none, none)

    def __len__(self) -> int:
        return len(self.route)

    @property
    def now(self) -> Floats:
        now: Floats = self.times[NOW]
        return now

    @property
    def free(self) -> Floats:
        free: Floats = self.times[FREE:]
        return free

    def take(self, kept: NDArray[np.intp] | NDArray[np.bool_]) -> States:
        """Only these states."""
        return States(self.times[:, kept], self.route[kept], self.parent[kept], self.action[kept])


def extend(states: States, profile: Profile, layer: LayerProfile) -> States:
    """Every way in which any of `states` can go on with `layer`."""
    everyone = np.arange(len(states))
    if layer.size_bytes == 0:
        times = states.times.copy()
        times[:FREE] += layer.execute_ms
        return States(times, states.route, everyone, np.full(len(states), IN_PLACE))
    parts = [_open(states, profile, layer, route) for route in range(len(profile.links))]
    if layer.direct_host_access_ms is not None:
        times = states.times.copy()
        times[:FREE] += layer.direct_host_access_ms
        times[FREE] += profile.link_held_ms(layer)
        parts.append(States(times, states.route, everyone, np.full(len(states), IN_PLACE)))
    if states.route[0] >= 0 or len(states) > 1:
        parts.append(_join(states, profile, layer))
    return States(
        np.concatenate([part.times for part in parts], axis=1),
        np.concatenate([part.route for part in parts]),
        np.concatenate([part.parent for part in parts]),
        np.concatenate([part.action for part in parts]),
    )


def _open(states: States, profile: Profile, layer: LayerProfile, route: int) -> States:
    """`layer` opens a group on link `route`. Of idle links that are alike in all respects only the first is tried."""
    link = profile.links[route]
    parents = np.arange(len(states))
    for other in range(1, route):
        if profile.links[other] == link:
            parents = parents[states.times[FREE + other, parents] != states.times[FREE + route, parents]]
    times = states.times[:, parents]
    times[FREE + route] += link.latency_ms + layer.size_bytes / link.bytes_per_ms
    times[HELD] = times[FREE + route] + layer.execute_ms
    times[NOW] = np.maximum(times[NOW] + (profile.group_overhead_ms + layer.execute_ms), times[HELD])
    return States(times, np.full(len(parents), route), parents, np.full(len(parents), OPEN + route))


def _join(states: States, profile: Profile, layer: LayerProfile) -> States:
    """`layer` joins the last group, whose arrival is later for it."""
    parents = np.flatnonzero(states.route >= 0)
    route = states.route[parents]
    copies = np.array([layer.size_bytes / link.bytes_per_ms for link in profile.links])[route]
    times = states.times[:, parents]
    times[HELD] += copies + layer.execute_ms
    times[NOW] = np.maximum(times[NOW] + layer.execute_ms, times[HELD])
    times[FREE + route, np.arange(len(parents))] += copies
    return States(times, route, parents, np.full(len(parents), JOIN))


def undominated(states: States) -> Ints:
    """The positions of the states that no other one of the same route is at least as good as in every respect."""
    kept = [_undominated(states.times, np.flatnonzero(states.route == route)) for route in np.unique(states.route)]
    return np.concatenate(kept)


def _undominated(times: Floats, members: Ints) -> Ints:
    members = members[np.argsort(times[:, members].sum(axis=0), kind="stable")]  # none is dominated by a later one
    front = np.empty((len(times), 0))
    kept: list[Ints] = []
    for begin in range(0, len(members), _BLOCK):
        block = members[begin : begin + _BLOCK]
        block = block[~_covered(times[:, block], front)]
        among = np.triu(_at_least_as_good(times[:, block], times[:, block]), k=1)
        block = block[~among.any(axis=0)]
        kept.append(block)
        front = np.concatenate((front, times[:, block]), axis=1)
    return np.concatenate(kept)


def _covered(candidates: Floats, front: Floats) -> NDArray[np.bool_]:
    covered: NDArray[np.bool_] = np.zeros(candidates.shape[1], dtype=bool)
    for begin in range(0, front.shape[1], 4 * _BLOCK):
        covered |= _at_least_as_good(front[:, begin : begin + 4 * _BLOCK], candidates).any(axis=0)
    return covered


def _at_least_as_good(good: Floats, others: Floats) -> NDArray[np.bool_]:
    """(goods, others): whether each of the one is no later in any respect than each of the other."""
    result: NDArray[np.bool_] = good[0][:, None] <= others[0][None, :]
    for row in range(1, len(good)):
        result &= good[row][:, None] <= others[row][None, :]
    return result
