import random
import time
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepplan.planning.bounds import lower_bound_ms
from deepplan.planning.plan import Plan
from deepplan.planning.policies.optimal import CODING_GAINS, optimal
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile
from deepplan.planning.search import POLICIES, search
from deepplan.planning.simulator import simulate

MB = 1_000_000


def near(value):
    return pytest.approx(value, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("seed", range(8))
def test_the_enumeration_agrees_with_the_simulator(seed, random_profile, all_plans_as_choices):
    profile = random_profile(random.Random(seed), layers=1 + seed % 4, links=1 + seed % 3)
    for placements, groups, routes, _, latency in all_plans_as_choices(profile):
        plan = Plan.from_choices(profile, placements, groups, routes)
        assert simulate(profile, plan).total_ms == near(latency)


@pytest.mark.parametrize("seed", range(8))
def test_the_enumeration_of_coded_plans_agrees_with_the_simulator(seed, random_coded_profile, all_plans_as_choices):
    profile = random_coded_profile(random.Random(seed), layers=1 + seed % 4, links=1 + seed % 2)
    for placements, groups, routes, coded, latency in all_plans_as_choices(profile):
        plan = Plan.from_choices(profile, placements, groups, routes, coded=coded)
        assert simulate(profile, plan).total_ms == near(latency)


@pytest.mark.parametrize("layers, links", [(5, 1), (5, 2), (5, 3), (7, 2), (6, 3), (10, 1), (8, 2), (8, 3)])
def test_no_plan_is_faster(layers, links, random_profile, best_of_all_plans):
    rng = random.Random(100 * layers + links)
    for _ in range(40 if layers <= 5 else 6):
        profile = random_profile(rng, layers, links)
        plan = search(profile)
        assert plan.predicted_ms == near(best_of_all_plans(profile))
        assert plan.gap == pytest.approx(0, abs=1e-9)


def fastest(profile):
    """The plan with coding wherever it gains anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(POLICIES, "optimal", partial(optimal, coding_gains=0.0))
        return search(profile)


@pytest.mark.parametrize("layers, links", [(2, 1), (3, 2), (4, 1), (4, 3), (5, 1), (5, 2), (6, 1)])
def test_no_plan_is_faster_coded_or_not(layers, links, random_coded_profile, best_of_all_plans):
    """Over all plans: placements, groups, routes and which groups are coded."""
    rng, coded = random.Random(100 * layers + links), 0
    for _ in range(60):
        profile = random_coded_profile(rng, layers, links)
        plan, plain, best_ms = fastest(profile), search(profile, coding=False), best_of_all_plans(profile)
        assert plan.predicted_ms == near(best_ms)
        assert plan.gap == pytest.approx(0, abs=1e-9)
        assert lower_bound_ms(profile) <= best_ms * (1 + 1e-9)
        assert plan.predicted_ms <= plain.predicted_ms
        assert any(plan.coded) == (plan.predicted_ms < plain.predicted_ms)
        coded += any(plan.coded)
    assert coded > 5


@pytest.mark.parametrize("seed", range(20))
def test_coding_has_to_gain_more_than_predictions_err(seed, random_coded_profile):
    profile = random_coded_profile(random.Random(seed), 1 + seed % 5, 1 + seed % 2)
    plan, plain = search(profile), search(profile, coding=False)
    if fastest(profile).predicted_ms < (1 - CODING_GAINS) * plain.predicted_ms:
        assert plan.predicted_ms == fastest(profile).predicted_ms and any(plan.coded)
    else:
        assert plan.timeline == plain.timeline and not any(plan.coded)
        assert plan.gap == pytest.approx(0, abs=1e-9)


times = st.sampled_from([0.0, 0.5, 1.0, 1.5])
layers = st.builds(
    LayerProfile,
    name=st.just("layer"),
    type=st.just("Linear"),
    size_bytes=st.sampled_from([0, 5 * MB, 10 * MB]),
    load_ms=times,
    execute_ms=times,
    direct_host_access_ms=st.none() | times,
)
links = st.builds(LinkProfile, latency_ms=st.sampled_from([0.0, 0.5]), bandwidth_gbps=st.sampled_from([5.0, 10.0]))
profiles = st.builds(
    Profile,
    layers=st.lists(layers, min_size=1, max_size=6),
    links=st.lists(links, min_size=1, max_size=3),
    group_overhead_ms=st.sampled_from([0.0, 0.25]),
)


def test_no_plan_is_faster_where_many_tie(best_of_all_plans):
    @settings(max_examples=150, deadline=None, database=None)
    @given(profiles)
    def check(profile):
        assert search(profile).predicted_ms == near(best_of_all_plans(profile))

    check()


def test_bytes_are_read_in_place_inside_a_group_if_that_pays(best_of_all_plans):
    """A case in which a group must span a layer that stays in host memory."""
    layers = [
        LayerProfile("a", "Linear", 10 * MB, 1.0, 0.1, None),
        LayerProfile("b", "Embedding", 90 * MB, 9.0, 0.1, 0.2),
        LayerProfile("c", "Linear", 10 * MB, 1.0, 0.1, None),
    ]
    profile = Profile(layers, [LinkProfile(2.0, 10.0)])
    plan = search(profile)
    assert [(layer.placement, layer.group) for layer in plan.layers] == [("load", 0), ("dha", -1), ("load", 0)]
    assert plan.predicted_ms == near(2.0 + 2.0 + 0.1 + 0.2 + 0.1) == near(best_of_all_plans(profile))


def encoder(blocks, links, warm_ms, latency_ms=0.008):
    """Like BERT-large in fp32: an embedding, then blocks of six products and two normalisations, and layers without."""
    hidden = 1024

    def layer(name, kind, size_bytes, execute_ms, in_place_ms):
        return LayerProfile(name, kind, size_bytes, latency_ms + size_bytes / 55.5e6, execute_ms, in_place_ms)

    def product(name, columns):
        size_bytes, execute_ms = 4 * hidden * (columns + 1), 0.9 * warm_ms / blocks * columns / (12 * hidden)
        return layer(name, "Linear", size_bytes, execute_ms, execute_ms + 10 * size_bytes / 51e6)

    layers = [layer("word", "Embedding", 125 * MB, 0.004, 0.027), layer("norm", "LayerNorm", 8192, 0.006, 0.022)]
    for block in range(blocks):
        layers += [product(f"{block}.{name}", hidden) for name in ("query", "key", "value")]
        layers += [layer(f"{block}.attention", "", 0, 0.1 * warm_ms / blocks, None), product(f"{block}.dense", hidden)]
        layers += [layer(f"{block}.norm1", "LayerNorm", 8192, 0.006, 0.022), product(f"{block}.up", 4 * hidden)]
        layers += [layer(f"{block}.gelu", "GELU", 0, 0.01, None), product(f"{block}.down", 4 * hidden)]
        layers += [layer(f"{block}.norm2", "LayerNorm", 8192, 0.006, 0.022)]
    return Profile(layers, [LinkProfile(latency_ms, 55.5)] * links)


def mixture(count, links, seed=0):
    """Big, tiny and no-parameter layers at random, on links that differ."""
    rng = random.Random(seed)

    def layer(index):
        size_bytes = rng.choice([0, rng.randrange(256, 20_000), int(10 ** rng.uniform(4.5, 7.3))])
        execute_ms = rng.uniform(0.003, 0.01) + size_bytes / MB * rng.uniform(0.002, 0.02)
        in_place_ms = None if rng.random() < 0.1 else execute_ms + 0.003 + size_bytes / 51e6 * rng.uniform(0.9, 12)
        return LayerProfile(f"{index}", "Conv2d", size_bytes, 0.008 + size_bytes / 55.5e6, execute_ms, in_place_ms)

    all_links = [LinkProfile(0.008, 55.5), LinkProfile(0.014, 52.0), LinkProfile(0.015, 50.0), LinkProfile(0.016, 49.0)]
    return Profile([layer(index) for index in range(count)], all_links[:links])


def test_a_large_encoder_on_one_link_comes_close_to_its_floor():
    profile = encoder(24, 1, warm_ms=12.46)
    must_cross = sum(layer.size_bytes for layer in profile.layers if layer.type != "Embedding")
    floor_ms = max(sum(layer.execute_ms for layer in profile.layers), must_cross / 55.5e6)
    plan = search(profile)
    assert plan.predicted_ms <= 1.02 * floor_ms
    assert len(plan.routes) <= 25


def test_plans_that_tie_are_told_apart_by_their_copies():
    """Where execution is the bottleneck any number of groups would do; few are made."""
    profile = encoder(24, 4, warm_ms=21.42)
    plan = search(profile)
    assert plan.predicted_ms <= 1.005 * sum(layer.execute_ms for layer in profile.layers)
    assert len(plan.routes) <= 25


@pytest.mark.parametrize("links", [1, 2, 4])
@pytest.mark.parametrize("profile_of", [lambda links: encoder(12, links, 1.5), lambda links: mixture(150, links)])
def test_it_is_never_worse_than_another_policy_and_knows_its_gap(profile_of, links):
    profile = profile_of(links)
    plan = search(profile)
    for policy in POLICIES:
        assert plan.predicted_ms <= search(profile, policy).predicted_ms
    assert 0 <= plan.gap < 0.08


@pytest.mark.parametrize("seed", range(30))
def test_it_is_never_worse_than_another_policy_for_awkward_profiles(seed, random_profile):
    rng = random.Random(seed)
    profile = random_profile(rng, rng.randrange(13, 60), rng.randrange(1, 5))
    plan = search(profile)
    for policy in POLICIES:
        assert plan.predicted_ms <= search(profile, policy).predicted_ms


def coded(profile, keeps):
    """The same with a code for all layers that are worth it, which the target decodes at 1 TB/s."""
    layers = [
        replace(x, coded_bytes=int(keeps * x.size_bytes) if x.size_bytes > 10_000 else None) for x in profile.layers
    ]
    return replace(profile, layers=layers, decode_gbps=1000.0)


@pytest.mark.parametrize("links", [1, 2, 4])
@pytest.mark.parametrize("profile_of", [lambda links: encoder(24, links, 12.46), lambda links: mixture(150, links)])
@pytest.mark.parametrize("keeps", [0.85, 0.7])
def test_coding_is_never_worse_and_knows_its_gap(keeps, profile_of, links):
    profile = coded(profile_of(links), keeps)
    plan, plain = search(profile), search(profile, coding=False)
    assert plan.predicted_ms <= plain.predicted_ms
    assert 0 <= plan.gap < 0.06


def test_a_large_encoder_on_one_link_crosses_coded():
    profile = encoder(24, 1, warm_ms=12.46)
    plan = search(coded(profile, 0.7))
    assert plan.predicted_ms < 0.76 * search(profile).predicted_ms
    assert plan.crossing_bytes < 0.75 * plan.loaded_bytes


def test_nothing_is_coded_where_execution_is_the_limit():
    plan = search(coded(encoder(24, 4, warm_ms=40.0), 0.7))
    assert plan.coded_plain_bytes < 0.05 * plan.loaded_bytes


@pytest.mark.parametrize("seed", range(30))
def test_coding_is_never_worse_for_awkward_profiles(seed, random_coded_profile):
    rng = random.Random(seed)
    profile = random_coded_profile(rng, rng.randrange(13, 60), rng.randrange(1, 5))
    plan = search(profile)
    assert lower_bound_ms(profile) * (1 - 1e-9) <= plan.predicted_ms <= search(profile, coding=False).predicted_ms
    for policy in POLICIES:
        other = search(profile, policy)
        assert plan.predicted_ms <= other.predicted_ms
        assert policy == "optimal" or not any(other.coded)


@pytest.mark.parametrize("links", [1, 4])
@pytest.mark.parametrize("profile_of", [lambda links: encoder(50, links, 8.0), lambda links: mixture(500, links)])
def test_five_hundred_layers_take_less_than_three_seconds_with_coding(profile_of, links):
    profile = coded(profile_of(links), 0.7)
    begin = time.process_time()
    plan = search(profile)
    assert time.process_time() - begin < 3.0
    assert plan.gap < 0.07


@pytest.mark.parametrize("links", [1, 4])
@pytest.mark.parametrize("profile_of", [lambda links: encoder(50, links, 8.0), lambda links: mixture(500, links)])
def test_five_hundred_layers_take_less_than_a_second(profile_of, links):
    profile = profile_of(links)
    assert len(profile.layers) >= 500
    begin = time.process_time()  # not the wall's clock: machines that run tests are busy
    plan = search(profile)
    assert time.process_time() - begin < 1.0
    assert plan.gap < 0.03
