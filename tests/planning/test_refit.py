from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile
from deepplan.planning.refit import refit
from deepplan.planning.search import search

MB = 1_000_000


def profile_of(seed: int, layers: int = 6, links: int = 3, held: bool = False, coded: bool = False) -> Profile:
    """Some layers are read in place, as fast as on the device; slower, and holding the link, with `held`."""
    rng = random.Random(seed)

    def layer(index: int) -> LayerProfile:
        execute_ms, size_bytes = rng.uniform(0, 2), rng.choice([0, *range(MB, 20 * MB, MB)])
        in_place_ms = rng.choice([None, None, execute_ms + (rng.uniform(0, 1) if held else 0.0)])
        coded_bytes = int(0.7 * size_bytes) if coded and size_bytes else None
        return LayerProfile(
            f"layer{index}", "Linear", size_bytes, 1.0, execute_ms, in_place_ms, coded_bytes=coded_bytes
        )

    return Profile(
        tuple(layer(index) for index in range(layers)),
        tuple(LinkProfile(rng.choice([0.0, 0.2]), rng.choice([5.0, 10.0])) for _ in range(links)),
        group_overhead_ms=0.05,
        decode_gbps=400.0 if coded else None,
    )


def alike(profile: Profile, plan: Plan, links: int) -> Iterator[Plan]:
    """Every plan over so many links that loads the same layers."""
    loads = [layer.placement == "load" for layer in plan.layers]
    for cuts in itertools.product([False, True], repeat=max(0, sum(loads) - 1)):
        numbers = iter(itertools.accumulate([0, *cuts]))
        groups = [next(numbers) if load else -1 for load in loads]
        for routes in itertools.product(range(links), repeat=max(groups) + 1):
            placements = [layer.placement for layer in plan.layers]
            yield Plan.from_choices(profile, placements, groups, routes, links=plan.links[:links])


@pytest.mark.parametrize("seed", range(12))
def test_no_plan_that_loads_the_same_is_faster(seed: int) -> None:
    profile = profile_of(seed)
    plan = search(profile)
    for links in (1, 2):
        found = refit(profile, plan, links)
        best_ms = min(each.predicted_ms for each in alike(profile, plan, links))
        assert found.predicted_ms == pytest.approx(best_ms)
        assert [layer.placement for layer in found.layers] == [layer.placement for layer in plan.layers]
        assert found.links == plan.links[:links] and found.policy == "optimal"


def folded(profile: Profile, plan: Plan, links: int) -> Plan:
    placements, groups = zip(*((layer.placement, layer.group) for layer in plan.layers))
    routes = [route % links for route in plan.routes]
    return Plan.from_choices(profile, placements, groups, routes, coded=plan.coded, links=plan.links[:links])


@pytest.mark.parametrize("seed", range(12))
def test_it_is_never_slower_than_the_plan_folded(seed: int) -> None:
    profile = profile_of(seed, layers=30, held=True)
    for plan in (search(profile), search(profile, "paper"), folded(profile, search(profile), 3)):
        for links in (1, 2, 3):
            assert refit(profile, plan, links).predicted_ms <= folded(profile, plan, links).predicted_ms


def test_a_coded_plan_keeps_its_groups() -> None:
    profile = profile_of(3, layers=20, links=2, coded=True)
    plain = search(profile)
    placements, groups = zip(*((layer.placement, layer.group) for layer in plain.layers))
    coded = [group % 2 == 0 for group in range(len(plain.routes))]
    plan = Plan.from_choices(profile, placements, groups, plain.routes, coded=coded)
    one = refit(profile, plan, 1)
    assert [layer.group for layer in one.layers] == [layer.group for layer in plan.layers]
    assert one.coded == plan.coded and set(one.routes) == {0}


def test_pipeswitch_is_refitted_by_pipeswitch() -> None:
    profile = profile_of(5, layers=20)
    one = refit(profile, search(profile, "pipeswitch"), 1)
    assert one.predicted_ms == search(profile, "pipeswitch", devices=[0]).predicted_ms
    assert one.policy == "pipeswitch"


@pytest.mark.parametrize("links", [0, 3])
def test_it_must_be_for_links_of_the_plan(links: int) -> None:
    profile = profile_of(1)
    with pytest.raises(InvalidInputError, match=f"over 2 links cannot be for {links}"):
        refit(profile, search(profile, devices=[0, 2]), links)


def test_links_are_those_of_the_plan() -> None:
    profile = profile_of(1)
    assert refit(profile, search(profile, devices=[0, 2, 1]), 2).links == (0, 2)
