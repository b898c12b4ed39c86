"""The timeline that a plan promises: the one rule by which plans are compared.

Groups are copied one after another on each link, each as soon as its link is free. A layer that is loaded waits for
its group; a layer read in place holds the target's own link, so that groups which begin later arrive later.

A coded group crosses with fewer bytes, in pieces: each piece is one copy and is decoded while the next one crosses, so
that only the last piece's decoding, which waits for its copy as a layer does, comes after the link is free. All of its
decoding slows the kernels it runs beside: that is hidden where execution waits for weights anyway, and paid where it
does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from deepplan.errors import InvalidInputError, MismatchError
from deepplan.planning.choices import Choices, check_coded
from deepplan.planning.profile import Profile
from deepplan.planning.timeline import Timeline, TimelineGroup, TimelineLayer

if TYPE_CHECKING:
    from deepplan.planning.plan import Plan


def simulate(profile: Profile, plan: Plan, beside: int = 0) -> Timeline:
    """The predicted cold start of `plan` on the machine and model of `profile`, while others load over `beside` links.

    Raises MismatchError if the plan was made for other layers or other links, or codes what the profile cannot.
    """
    if max(plan.links) >= len(profile.links):
        raise MismatchError(
            f"the plan uses links {list(plan.links)}, the profile has {len(profile.links)}; "
            "give the profile that the plan was made from, or search a new plan"
        )
    found = [(layer.name, layer.size_bytes) for layer in plan.layers]
    wanted = [(layer.name, layer.size_bytes) for layer in profile.layers]
    if found != wanted:
        different = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
        raise MismatchError(
            f"the plan ({plan.model or 'no name'}, {len(found)} layers) is not for this profile "
            f"({profile.model or 'no name'}, {len(wanted)} layers): they differ from layer {different} on; "
            "give the profile that the plan was made from, or search a new plan"
        )
    placements = tuple(layer.placement for layer in plan.layers)
    choices = Choices(placements, tuple(layer.group for layer in plan.layers), plan.routes, plan.coded)
    try:
        check_coded(profile, choices)
    except InvalidInputError as error:
        raise MismatchError(f"{error}, or give the profile that the plan was made from") from None
    return simulate_choices(profile.with_links(plan.links, beside), choices, plan.policy)


def simulate_choices(profile: Profile, choices: Choices, policy: str = "") -> Timeline:
    """The predicted cold start of checked `choices` over all links of `profile`."""
    run = _run(profile, choices, choices.coded)
    layers = tuple(
        TimelineLayer(layer.name, placement, group, *times, layer.size_bytes)
        for layer, placement, group, times in zip(profile.layers, choices.placements, choices.groups, run.layers)
    )
    groups = tuple(TimelineGroup(route, *group) for route, group in zip(choices.routes, run.groups))
    return Timeline(layers, groups, run.total_ms, "predicted", profile.model, policy, profile.devices)


def latency_ms(profile: Profile, choices: Choices, coded: Sequence[bool] | None = None) -> float:
    """The total of `simulate_choices`, without the timeline; with `coded` in place of the choices' own."""
    return _run(profile, choices, choices.coded if coded is None else coded).total_ms


class _Run(NamedTuple):
    layers: list[tuple[float, float, float]]  # start, end, stall
    groups: list[tuple[int, float, float, int | None]]  # bytes, start, end, coded bytes
    total_ms: float


def _run(profile: Profile, choices: Choices, coded: Sequence[bool]) -> _Run:
    group_bytes = [0] * len(choices.routes)
    coded_bytes = [0] * len(choices.routes)
    for layer, group in zip(profile.layers, choices.groups):
        if group >= 0:
            group_bytes[group] += layer.size_bytes
            coded_bytes[group] += layer.coded_bytes or 0
    free = [0.0] * len(profile.links)
    now = arrival = 0.0
    layers: list[tuple[float, float, float]] = []
    groups: list[tuple[int, float, float, int | None]] = []
    for layer, group in zip(profile.layers, choices.groups):
        if group == len(groups):
            route, size_bytes = choices.routes[group], group_bytes[group]
            link = profile.links[route]
            begin = free[route]
            if coded[group]:
                piece_bytes, carried_bytes = profile.coded_piece_bytes, coded_bytes[group]
                pieces = -(-size_bytes // piece_bytes)
                free[route] = begin + (pieces * link.latency_ms + carried_bytes / link.bytes_per_ms)
                arrival = free[route] + profile.group_overhead_ms + profile.decode_ms(min(size_bytes, piece_bytes))
                now += profile.decoding_slows_ms(size_bytes)
                groups.append((size_bytes, begin, arrival, carried_bytes))
            else:
                arrival = free[route] = begin + (link.latency_ms + size_bytes / link.bytes_per_ms)
                groups.append((size_bytes, begin, arrival, None))
            now += profile.group_overhead_ms
        stall, duration = 0.0, layer.execute_ms
        if group >= 0:
            stall = max(0.0, arrival - now)
            now = max(now, arrival)
        elif layer.size_bytes > 0 and layer.direct_host_access_ms is not None:
            duration = layer.direct_host_access_ms
            free[0] += profile.link_held_ms(layer)
        layers.append((now, now + duration, stall))
        now += duration
    return _Run(layers, groups, now + profile.call_overhead_ms)
