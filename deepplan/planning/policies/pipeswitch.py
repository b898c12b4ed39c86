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

Floats = NDArray[np.float64]


def pipeswitch(profile: Profile) -> Choices:
    """The best grouping for link 0; with several links each group then takes the one where it arrives first."""
    link = profile.links[0]
    loaded = [index for index, layer in enumerate(profile.layers) if layer.size_bytes > 0]
    copies = np.array([profile.layers[index].size_bytes / link.bytes_per_ms for index in loaded])
    # Layers without parameters run right after the loaded layer before them; those at the very start wait for nothing.
    executions = np.array([layer.execute_ms for layer in profile.layers])
    lead = float(executions[: loaded[0]].sum()) if loaded else 0.0
    spans = np.array([executions[a:b].sum() for a, b in zip(loaded, [*loaded[1:], len(executions)])])
    starts = [False] * len(profile.layers)
    for first in best_grouping(copies, spans, lead, link.latency_ms, profile.group_overhead_ms):
        starts[loaded[first]] = True
    return choices_in_order(profile, [True] * len(profile.layers), starts)


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
