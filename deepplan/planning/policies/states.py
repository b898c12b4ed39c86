"""Beginnings of plans, compared by what they leave to the layers that follow.

After some layers are decided, the rest of a plan sees only this of them: `now`, when they are executed; `held`, when
they would be executed if nothing but the arrival of the last group counted (more bytes in that group move it, and `now`
with it once it is the later); and when each link is free. Every step of the rule is monotone in all of these, so a
beginning that is no better in any of them than another one, and whose last group travels on the same link, can be
forgotten. A group's bytes are thus never guessed: as long as it is open its arrival is that of the bytes so far.

If the last group is coded, more bytes also move `now` by their decoding, and may add a piece, which costs a copy's
latency. So of coded groups `now` leaves out the wait for the last one (both are the later of it and `held`), and a
beginning is better only if its last group has no more plain bytes and is as good without what its pieces cost so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepplan.planning.profile import LayerProfile, Profile

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

IN_PLACE, JOIN, OPEN = 0, 1, 2  # what a state did with its last layer; OPEN + r opens a group with the route r
NOW, HELD, FREE = 0, 1, 2  # rows of `times`; FREE + k is link k's
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class States:
    """Some beginnings of equal length. `times`: (2 + links, states), ms. `route` (states): of the last group, or -1.

    Link k's route is k, and links + k for a group that crosses it coded. `parent` (states) is the position, among the
    states one layer before, of the one it extends by `action` (states). `decoded` (states) are the plain bytes of the
    last group if it is coded, else 0; None in a search that does not code.
    """

    times: Floats
    route: Ints
    parent: Ints
    action: Ints
    decoded: Ints | None = None

    @classmethod
    def initial(cls, links: int, coding: bool = False) -> States:
        """The one beginning with no layers."""
        none = np.array([-1])
        return cls(np.zeros((2 + links, 1)), none, none, none, np.array([0]) if coding else None)

    def __len__(self) -> int:
        return len(self.route)

    @property
    def now(self) -> Floats:
        now: Floats = self.times[NOW] if self.decoded is None else self.times[:FREE].max(axis=0)
        return now

    @property
    def free(self) -> Floats:
        free: Floats = self.times[FREE:]
        return free

    def take(self, kept: NDArray[np.intp] | NDArray[np.bool_]) -> States:
        """Only these states."""
        decoded = None if self.decoded is None else self.decoded[kept]
        return States(self.times[:, kept], self.route[kept], self.parent[kept], self.action[kept], decoded)


def extend(states: States, profile: Profile, layer: LayerProfile) -> States:
    """Every way in which any of `states` can go on with `layer`."""
    everyone = np.arange(len(states))
    if layer.size_bytes == 0:
        times = states.times.copy()
        times[:FREE] += layer.execute_ms
        return States(times, states.route, everyone, np.full(len(states), IN_PLACE), states.decoded)
    links = len(profile.links)
    parts = [_open(states, profile, layer, route) for route in range(links)]
    if states.decoded is not None and profile.codable(layer):
        parts += [_open(states, profile, layer, links + route) for route in range(links)]
    if layer.direct_host_access_ms is not None:
        times = states.times.copy()
        times[:FREE] += layer.direct_host_access_ms
        times[FREE] += profile.link_held_ms(layer)
        parts.append(States(times, states.route, everyone, np.full(len(states), IN_PLACE), states.decoded))
    if states.route[0] >= 0 or len(states) > 1:
        parts.append(_join(states, profile, layer))
        if states.decoded is not None and profile.codable(layer):
            parts.append(_join_coded(states, profile, layer))
    decoded = [part.decoded for part in parts if part.decoded is not None]
    return States(
        np.concatenate([part.times for part in parts], axis=1),
        np.concatenate([part.route for part in parts]),
        np.concatenate([part.parent for part in parts]),
        np.concatenate([part.action for part in parts]),
        np.concatenate(decoded) if decoded else None,
    )


def _open(states: States, profile: Profile, layer: LayerProfile, route: int) -> States:
    """`layer` opens a group with `route`. Of idle links that are alike in all respects only the first is tried."""
    on, coded = route % len(profile.links), route >= len(profile.links)
    link = profile.links[on]
    parents = np.arange(len(states))
    for other in range(1, on):
        if profile.links[other] == link:
            parents = parents[states.times[FREE + other, parents] != states.times[FREE + on, parents]]
    times = states.times[:, parents]
    if states.decoded is not None:
        times[NOW] = np.maximum(times[NOW], times[HELD])
    decoded = None if states.decoded is None else np.full(len(parents), layer.size_bytes if coded else 0)
    if coded:
        pieces, last_ms = _pieces(profile, np.array([layer.size_bytes]))
        times[FREE + on] += pieces * link.latency_ms + (layer.coded_bytes or 0) / link.bytes_per_ms
        times[HELD] = times[FREE + on] + (profile.group_overhead_ms + last_ms + layer.execute_ms)
        times[NOW] += profile.group_overhead_ms + profile.decoding_slows_ms(layer.size_bytes) + layer.execute_ms
    else:
        times[FREE + on] += link.latency_ms + layer.size_bytes / link.bytes_per_ms
        times[HELD] = times[FREE + on] + layer.execute_ms
        times[NOW] = np.maximum(times[NOW] + (profile.group_overhead_ms + layer.execute_ms), times[HELD])
    return States(times, np.full(len(parents), route), parents, np.full(len(parents), OPEN + route), decoded)


def _join(states: States, profile: Profile, layer: LayerProfile) -> States:
    """`layer` joins the last group, a plain one, whose arrival is later for it."""
    parents = np.flatnonzero((states.route >= 0) & (states.route < len(profile.links)))
    route = states.route[parents]
    copies = np.array([layer.size_bytes / link.bytes_per_ms for link in profile.links])[route]
    times = states.times[:, parents]
    times[HELD] += copies + layer.execute_ms
    times[NOW] = np.maximum(times[NOW] + layer.execute_ms, times[HELD])
    times[FREE + route, np.arange(len(parents))] += copies
    return States(times, route, parents, np.full(len(parents), JOIN), _of(states.decoded, parents))


def _join_coded(states: States, profile: Profile, layer: LayerProfile) -> States:
    """`layer` joins the last group, a coded one, which may take another piece for it and is decoded for longer."""
    parents = np.flatnonzero(states.route >= len(profile.links))
    on, before = states.route[parents] - len(profile.links), _of(states.decoded, parents)
    assert before is not None
    decoded = before + layer.size_bytes
    (pieces, last_ms), (pieces_before, last_ms_before) = _pieces(profile, decoded), _pieces(profile, before)
    latencies = np.array([link.latency_ms for link in profile.links])[on]
    copies = np.array([(layer.coded_bytes or 0) / link.bytes_per_ms for link in profile.links])[on]
    copies += (pieces - pieces_before) * latencies
    times = states.times[:, parents]
    times[HELD] += copies + (last_ms - last_ms_before) + layer.execute_ms
    times[NOW] += profile.decoding_slows_ms(layer.size_bytes) + layer.execute_ms
    times[FREE + on, np.arange(len(parents))] += copies
    return States(times, states.route[parents], parents, np.full(len(parents), JOIN), decoded)


def _pieces(profile: Profile, decoded: Ints) -> tuple[Ints, Floats]:
    """How many copies coded groups of these plain bytes take, and how long the last one is decoded (ms)."""
    piece_bytes = profile.coded_piece_bytes
    return -(-decoded // piece_bytes), np.minimum(decoded, piece_bytes) * profile.decode_ms(1)


def _of(decoded: Ints | None, parents: Ints) -> Ints | None:
    return None if decoded is None else decoded[parents]


def free_to_join(states: States, profile: Profile) -> Floats:
    """(links, states): `free` without the share (ms) of a last, open piece's latency that layers may join without."""
    if states.decoded is None:
        return states.free
    links = len(profile.links)
    free: Floats = states.free.copy()
    for route in range(links, 2 * links):
        members = np.flatnonzero(states.route == route)
        room = _pieces(profile, states.decoded[members])[0] - states.decoded[members] / profile.coded_piece_bytes
        free[route - links, members] -= room * profile.links[route - links].latency_ms
    return free


def undominated(states: States, profile: Profile | None = None) -> Ints:
    """The positions of the states that no other one of the same route is at least as good as in every respect.

    `profile` is needed where groups may be coded.
    """
    kept: list[Ints] = []
    for route in np.unique(states.route).tolist():
        members = np.flatnonzero(states.route == route)
        respects = states.times[:, members]
        if profile is not None and states.decoded is not None and route >= len(profile.links):
            respects = _without_pieces(respects, states.decoded[members], profile, route - len(profile.links))
        kept.append(members[_undominated(respects, np.arange(len(members)))])
    return np.concatenate(kept)


def _without_pieces(times: Floats, decoded: Ints, profile: Profile, link: int) -> Floats:
    """`times` of states whose last group crosses `link` coded, without what its pieces cost; below, its bytes."""
    pieces, last_ms = _pieces(profile, decoded)
    latencies_ms = pieces * profile.links[link].latency_ms
    times[FREE + link] -= latencies_ms
    times[HELD] -= latencies_ms + last_ms
    respects: Floats = np.concatenate((times, decoded[None, :] / profile.coded_piece_bytes))
    return respects


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
