"""Every plan of a small profile, evaluated by the rule written down a second time, and random profiles to try it on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

MB = 1_000_000


def every_plan(profile):
    """(plans, layers) actions: -2 in place or without parameters, -1 joins the last group, k opens one on link k."""
    options = []
    for layer in profile.layers:
        in_place = layer.size_bytes == 0 or layer.direct_host_access_ms is not None
        loads = [-1, *range(len(profile.links))] if layer.size_bytes > 0 else []
        options.append(([-2] if in_place else []) + loads)
    grids = np.meshgrid(*[np.array(option, dtype=np.int8) for option in options], indexing="ij")
    plans = np.stack([grid.ravel() for grid in grids], axis=1)
    opened = np.cumsum(plans >= 0, axis=1) > 0
    return plans[~((plans == -1) & ~opened).any(axis=1)]  # there is no group to join before one is opened


def latencies(profile, plans):
    """(plans) cold-start latency of each of `plans`."""
    count = len(plans)
    group_bytes = np.zeros(plans.shape)
    pending = np.zeros(count)
    for i in reversed(range(len(profile.layers))):
        pending += np.where(plans[:, i] >= -1, profile.layers[i].size_bytes, 0)
        group_bytes[:, i] = pending
        pending[plans[:, i] >= 0] = 0
    now, arrival = np.zeros(count), np.zeros(count)
    free = np.zeros((len(profile.links), count))
    for i, layer in enumerate(profile.layers):
        action = plans[:, i]
        for k, link in enumerate(profile.links):
            on = action == k
            free[k, on] += link.latency_ms + group_bytes[on, i] / (link.bandwidth_gbps * 1e6)
            arrival[on] = free[k, on]
        now[action >= 0] += profile.group_overhead_ms
        loads = action >= -1
        now[loads] = np.maximum(now[loads], arrival[loads])
        if layer.size_bytes > 0 and layer.direct_host_access_ms is not None:
            extra = layer.direct_host_access_ms - layer.execute_ms
            held = max(0.0, min(extra, layer.size_bytes / (profile.links[0].bandwidth_gbps * 1e6)))
            free[0, ~loads] += held
            now[~loads] += extra
        now += layer.execute_ms
    return now + profile.call_overhead_ms


@pytest.fixture
def best_of_all_plans():
    """A function that returns the lowest latency (ms) of all plans of a profile."""

    def best(profile):
        return min(latencies(profile, chunk).min() for chunk in np.array_split(every_plan(profile), 64) if len(chunk))

    return best


@pytest.fixture
def all_plans_as_choices():
    """A function that yields (placements, groups, routes, latency) of every plan of a profile."""

    def plans(profile):
        actions = every_plan(profile)
        for row, latency in zip(actions.tolist(), latencies(profile, actions).tolist()):
            routes = [action for action in row if action >= 0]
            opened = itertools.accumulate(action >= 0 for action in row)
            groups = [-1 if action == -2 else count - 1 for action, count in zip(row, opened)]
            yield ["dha" if action == -2 else "load" for action in row], groups, routes, latency

    return plans


@pytest.fixture
def random_profile():
    """A function that makes a profile of all the awkward kinds of layers from a random generator."""

    def make(rng, layers, links):
        def layer(index):
            execute_ms = rng.choice([0.0, 0.1, rng.uniform(0, 2)])
            in_place_ms = rng.choice([None, execute_ms, execute_ms / 2, execute_ms + rng.uniform(0, 3)])
            size_bytes = rng.choice([0, MB, 2 * MB, rng.randrange(1, 30 * MB), rng.randrange(1, 30 * MB)])
            kind = rng.choice(["Linear", "Embedding", "BatchNorm2d"])
            return LayerProfile(f"layer{index}", kind, size_bytes, rng.uniform(0, 3), execute_ms, in_place_ms)

        def link():
            return LinkProfile(rng.choice([0.0, 0.01, 0.3]), rng.choice([10.0, 10.0, 5.0, rng.uniform(5, 20)]))

        return Profile(
            [layer(index) for index in range(layers)],
            [link() for _ in range(links)],
            group_overhead_ms=rng.choice([0.0, 0.0, 0.05]),
            call_overhead_ms=rng.choice([0.0, 0.2]),
        )

    return make
