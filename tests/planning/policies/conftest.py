"""Every plan of a small profile, evaluated by the rule written down a second time, and random profiles to try it on."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

MB = 1_000_000


def every_plan(profile):
    """(plans, layers) actions: -2 in place or without parameters, -1 joins the last group, k opens one on link k.

    If the target decodes, links + k opens a group that crosses link k coded.
    """
    options, links = [], len(profile.links)
    for layer in profile.layers:
        in_place = layer.size_bytes == 0 or layer.direct_host_access_ms is not None
        routes = 2 * links if profile.codable(layer) else links
        loads = [-1, *range(routes)] if layer.size_bytes > 0 else []
        options.append(([-2] if in_place else []) + loads)
    grids = np.meshgrid(*[np.array(option, dtype=np.int8) for option in options], indexing="ij")
    plans = np.stack([grid.ravel() for grid in grids], axis=1)
    opened = np.cumsum(plans >= 0, axis=1) > 0
    plans = plans[~((plans == -1) & ~opened).any(axis=1)]  # there is no group to join before one is opened
    coded, sound = np.zeros(len(plans), dtype=bool), np.ones(len(plans), dtype=bool)
    for action, layer in zip(plans.T, profile.layers):
        coded = np.where(action >= 0, action >= links, coded)
        if not profile.codable(layer):
            sound &= ~(coded & (action == -1))
    return plans[sound]


def summed_over_groups(plans, sizes):
    """(plans, layers): where a group is opened, the sum of `sizes` over its layers."""
    sums, pending = np.zeros(plans.shape), np.zeros(len(plans))
    for i in reversed(range(len(sizes))):
        pending += np.where(plans[:, i] >= -1, sizes[i], 0)
        sums[:, i] = pending
        pending[plans[:, i] >= 0] = 0
    return sums


def latencies(profile, plans):
    """(plans) cold-start latency of each of `plans`."""
    count = len(plans)
    group_bytes = summed_over_groups(plans, [layer.size_bytes for layer in profile.layers])
    coded_bytes = summed_over_groups(plans, [layer.coded_bytes or 0 for layer in profile.layers])
    now, arrival = np.zeros(count), np.zeros(count)
    free = np.zeros((len(profile.links), count))
    for i, layer in enumerate(profile.layers):
        action = plans[:, i]
        for k, link in enumerate(profile.links):
            on = action == k
            free[k, on] += link.latency_ms + group_bytes[on, i] / (link.bandwidth_gbps * 1e6)
            arrival[on] = free[k, on]
            on = action == len(profile.links) + k
            if on.any():
                pieces = np.ceil(group_bytes[on, i] / profile.coded_piece_bytes)
                free[k, on] += pieces * link.latency_ms + coded_bytes[on, i] / (link.bandwidth_gbps * 1e6)
                last_piece = np.minimum(group_bytes[on, i], profile.coded_piece_bytes)
                arrival[on] = free[k, on] + profile.group_overhead_ms + last_piece / (profile.decode_gbps * 1e6)
                now[on] += 2.0 * group_bytes[on, i] / (profile.decode_gbps * 1e6)
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
    """A function that yields (placements, groups, routes, coded, latency) of every plan of a profile."""

    def plans(profile):
        actions = every_plan(profile)
        for row, latency in zip(actions.tolist(), latencies(profile, actions).tolist()):
            routes = [action for action in row if action >= 0]
            opened = itertools.accumulate(action >= 0 for action in row)
            groups = [-1 if action == -2 else count - 1 for action, count in zip(row, opened)]
            links = len(profile.links)
            coded = [route >= links for route in routes]
            placements = ["dha" if action == -2 else "load" for action in row]
            yield placements, groups, [route % links for route in routes], coded, latency

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


@pytest.fixture
def random_coded_profile(random_profile):
    """The same for a target that decodes, fast or slowly, and layers some of which have a code."""

    def make(rng, layers, links):
        profile = random_profile(rng, layers, links)

        def coded(layer):
            keeps = rng.choice([None, 0.5, 0.7, 0.7, 0.85, 1.0])
            return replace(layer, coded_bytes=None if keeps is None else int(keeps * layer.size_bytes))

        return replace(
            profile,
            layers=[coded(layer) for layer in profile.layers],
            decode_gbps=rng.choice([1000.0, 300.0, 50.0, 20.0, 5.0]),
            coded_piece_bytes=rng.choice([16 << 20, 4 * MB, MB]),
        )

    return make
