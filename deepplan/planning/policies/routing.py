"""Groups sent in order, each over the link where it arrives first."""

from __future__ import annotations

from collections.abc import Sequence

from deepplan.planning.choices import Choices
from deepplan.planning.profile import Profile
from deepplan.planning.timeline import Placement


def choices_in_order(profile: Profile, loads: Sequence[bool], starts: Sequence[bool]) -> Choices:
    """The plan that loads the layers in `loads`, a new group at each of them in `starts`; ties go to the first link.

    Both have one entry for each layer; layers without parameters are not loaded whatever `loads` says.
    """
    placements: list[Placement] = []
    groups: list[int] = []
    sizes: list[int] = []
    for layer, load, start in zip(profile.layers, loads, starts):
        if not load or layer.size_bytes == 0:
            placements.append("dha")
            groups.append(-1)
            continue
        if start or not sizes:
            sizes.append(0)
        sizes[-1] += layer.size_bytes
        placements.append("load")
        groups.append(len(sizes) - 1)
    return Choices(tuple(placements), tuple(groups), _earliest_routes(profile, groups, sizes))


def _earliest_routes(profile: Profile, groups: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    free = [0.0] * len(profile.links)
    routes: list[int] = []
    for layer, group in zip(profile.layers, groups):
        if group == len(routes):
            arrivals = [
                begin + link.latency_ms + sizes[group] / link.bytes_per_ms for begin, link in zip(free, profile.links)
            ]
            route = arrivals.index(min(arrivals))
            routes.append(route)
            free[route] = arrivals[route]
        elif group < 0:
            free[0] += profile.link_held_ms(layer)
    return tuple(routes)
