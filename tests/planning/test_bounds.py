import dataclasses
import random

import numpy as np
import pytest

from deepplan.planning.bounds import SuffixBounds, lower_bound_ms
from deepplan.planning.plan import Plan
from deepplan.planning.policies.states import States, extend, free_to_join
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

MB = 1_000_000


def test_execution_alone_is_a_bound(make_layer):
    profile = Profile([make_layer(name, 1, 2.0, 2.5) for name in "ab"], [LinkProfile(0.0, 10.0)], call_overhead_ms=1.0)
    assert lower_bound_ms(profile) == pytest.approx(5.0, abs=1e-6)


def test_bytes_that_must_cross_are_a_bound_and_the_last_layer_runs_after_them(make_layer):
    layers = [make_layer("a", 10 * MB, 0.1, None), make_layer("b", 30 * MB, 0.5, None)]
    assert lower_bound_ms(Profile(layers, [LinkProfile(0.0, 10.0)])) == pytest.approx(4.5)
    assert lower_bound_ms(Profile(layers, [LinkProfile(0.0, 10.0)] * 2)) == pytest.approx(2.5)


def test_reading_in_place_holds_the_link_in_the_bound_as_well(make_layer):
    layers = [make_layer("a", 10 * MB, 0.1, 1.1), make_layer("b", 30 * MB, 0.5, None)]
    assert lower_bound_ms(Profile(layers, [LinkProfile(0.0, 10.0)])) == pytest.approx(4.5)


def test_coded_bytes_are_a_bound_where_the_target_decodes(make_layer):
    layers = [dataclasses.replace(make_layer(name, 20 * MB, 0.5, None), coded_bytes=14 * MB) for name in "ab"]
    profile = Profile(layers, [LinkProfile(0.0, 10.0)])
    assert lower_bound_ms(profile) == pytest.approx(4.5)
    assert lower_bound_ms(dataclasses.replace(profile, decode_gbps=1e6)) == pytest.approx(2.8 + 0.5)


def test_decoding_takes_the_gpu_in_the_bound_as_well(make_layer):
    """Each layer executes in 1 ms and crosses in 2, or coded in 1 and 0.5 ms of decoding."""
    layers = [dataclasses.replace(make_layer(str(i), 20 * MB, 1.0, None), coded_bytes=10 * MB) for i in range(9)]
    profile = Profile(layers, [LinkProfile(0.0, 10.0)], decode_gbps=40.0)
    without = lower_bound_ms(dataclasses.replace(profile, decode_gbps=1e6))
    assert without == pytest.approx(10, rel=1e-3)
    assert 12 < lower_bound_ms(profile) <= 1 + 9 * 1.5


def test_decoding_that_a_groups_wait_hides_is_not_counted(make_layer):
    """In one group both layers are decoded, which slows by 0.5 ms each, while 1 and 0.1 ms of them cross."""
    coded_bytes = {"a": 10 * MB, "b": 1 * MB}
    layers = [dataclasses.replace(make_layer(x, 10 * MB, 0.0, None), coded_bytes=coded_bytes[x]) for x in "ab"]
    profile = Profile(layers, [LinkProfile(0.0, 10.0)], decode_gbps=40.0, coded_piece_bytes=MB)
    plan = Plan.from_choices(profile, ["load"] * 2, [0, 0], [0], coded=[True])
    assert plan.predicted_ms == pytest.approx(1.125)
    assert lower_bound_ms(profile) == pytest.approx(1.1)


def test_at_the_end_the_bound_is_the_end():
    profile = Profile([LayerProfile("a", "Linear", 0, 0.0, 1.0, None)], [LinkProfile(0.0, 10.0)])
    now, free = np.array([1.0, 3.0]), np.array([[0.0, 2.0]])
    assert SuffixBounds.of(profile).after(1, now, free).tolist() == [1.0, 3.0]


@pytest.mark.parametrize("coding", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_more_of_a_plan_decided_never_lowers_its_bound(seed, coding):
    """What makes it safe to cut a search by it, seen on plans decided layer by layer."""
    rng = random.Random(seed)

    def layer():
        size_bytes, execute_ms = rng.choice([0, rng.randrange(20 * MB)]), rng.uniform(0, 1)
        return LayerProfile("x", "Linear", size_bytes, 1.0, execute_ms, execute_ms * rng.uniform(0.5, 4))

    layers = [layer() for _ in range(4 if coding else 6)]
    profile = Profile(layers, [LinkProfile(0.1, 10.0), LinkProfile(0.2, 8.0)][: 1 + seed % 2], group_overhead_ms=0.05)
    if coding:
        layers = [dataclasses.replace(layer, coded_bytes=layer.size_bytes * 7 // 10) for layer in layers]
        changes = {"layers": layers, "decode_gbps": rng.choice([5.0, 20.0, 300.0]), "coded_piece_bytes": 4 * MB}
        profile = dataclasses.replace(profile, **changes)
    bounds = SuffixBounds.of(profile)
    states = States.initial(len(profile.links), coding)
    before = bounds.after(0, states.now, free_to_join(states, profile))
    assert before[0] == pytest.approx(bounds.whole_ms)
    for index, layer in enumerate(layers):
        states = extend(states, profile, layer)
        after = bounds.after(index + 1, states.now, free_to_join(states, profile))
        assert (after >= before[states.parent] - 1e-9).all()
        before = after
