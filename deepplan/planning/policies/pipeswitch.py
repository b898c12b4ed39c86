"""PipeSwitch: everything is loaded, in the groups that overlap copies and execution best.

Source: Bai et al., PipeSwitch, OSDI'20, section 4.2. The paper searches with pruning; since the arrival of the k-th
group depends only on k and on the layer it ends with, a dynamic programme over (groups, layers) gives the exact answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepplan.planning.choices import Choices
from deepplan.planning.policies.routing import choices_in_order
from deepplan.planning.profile import Profile
from deepplan.planning.simulator import latency_ms

Floats = NDArray[np.float64]


def pipeswitch(profile: Profile) -> Choices:
    """The best grouping for link 0; with several links, or the equal groups that end sooner.

    Each group takes the link where it arrives first. A grouping for one link has few and large groups where that link
    is the limit, and leaves the other links nothing to carry.
    """
    loaded = [index for index, layer in enumerate(profile.layers) if layer.size_bytes > 0]
    groupings = [_best_for_one_link(profile, loaded)]
    if len(profile.links) > 1:
        counts = {min(len(loaded), len(profile.links) << shift) for shift in range(10)}
        groupings += [_equal_groups(profile, loaded, count) for count in sorted(counts - {0})]
    everything = [True] * len(profile.layers)
    choices = [choices_in_order(profile, everything, starts) for starts in groupings]
    return min(choices, key=lambda candidate: latency_ms(profile, candidate))


def _best_for_one_link(profile: Profile, loaded: list[int]) -> list[bool]:
    """For each layer, whether a group begins with it."""
    link = profile.links[0]
    copies = np.array([profile.layers[index].size_bytes / link.bytes_per_ms for index in loaded])
    # Layers without parameters run right after the loaded layer before them; those at the very start wait for nothing.
    executions = np.array([layer.execute_ms for layer in profile.layers])
    lead = float(executions[: loaded[0]].sum()) if loaded else 0.0
    spans = np.array([executions[a:b].sum() for a, b in zip(loaded, [*loaded[1:], len(executions)])])
    starts = [False] * len(profile.layers)
    for first in best_grouping(copies, spans, lead, link.latency_ms, profile.group_overhead_ms):
        starts[loaded[first]] = True
    return starts


def _equal_groups(profile: Profile, loaded: list[int], count: int) -> list[bool]:
    """The same for groups that end where each `count`-th part of the bytes does, as closely as layers allow."""
    total, before, last = sum(profile.layers[index].size_bytes for index in loaded), 0, -1
    starts = [False] * len(profile.layers)
    for index in loaded:
        middle = before + profile.layers[index].size_bytes // 2
        part = middle * count // total
        starts[index] = part != last
        last, before = part, before + profile.layers[index].size_bytes
    return starts


def best_grouping(copies: Floats, executions: Floats, lead: float, alpha: float, gamma: float) -> list[int]:
    """The first layer of each group in the grouping that ends soonest.

    `copies` and `executions` hold one time (ms) for each layer, `lead` is run before any group is waited for, `alpha`
    is the cost of one copy and `gamma` that of waiting for one group.
    """
    n = len(copies)
    arrived = np.concatenate(([0.0], np.cumsum(copies)))
    executed = np.concatenate(([0.0], np.cumsum(executions)))
    no_later = np.arange(n + 1)[:, None] >= np.arange(n + 1)[None, :]  # a group from i to j needs i < j
    forbidden = np.where(no_later, np.inf, 0.0)
    ends = np.full(n + 1, np.inf)
    ends[0] = lead
    best, best_count = np.inf, 0
    previous: list[NDArray[np.intp]] = []
    for count in range(1, n + 1):
        arrival = count * alpha + arrived
        if n and arrival[n] + gamma + executions[n - 1] >= best:
            break  # the last group would arrive too late, and more groups only arrive later
        # end of the prefix j with its last group from i: rows i, columns j
        costs = np.maximum(ends[:, None] - executed[:, None], arrival[None, :] - executed[:, None]) + forbidden
        before = np.argmin(costs, axis=0)
        ends = costs[before, np.arange(n + 1)] + executed + gamma
        previous.append(before)
        if ends[n] < best:
            best, best_count = float(ends[n]), count
    firsts: list[int] = []
    position = n
    for count in range(best_count, 0, -1):
        position = int(previous[count - 1][position])
        firsts.append(position)
    return firsts[::-1]
