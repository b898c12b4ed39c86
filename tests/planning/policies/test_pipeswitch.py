import itertools
import random

import numpy as np
import pytest

from deepplan.planning.policies.pipeswitch import best_grouping, pipeswitch
from deepplan.planning.policies.routing import choices_in_order
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile
from deepplan.planning.search import search
from deepplan.planning.simulator import latency_ms

MB = 1_000_000


def ends(firsts, copies, executions, lead, alpha, gamma):
    """When the grouping with these first layers is done, by PipeSwitch's recurrence."""
    end = lead
    for number, (begin, stop) in enumerate(itertools.pairwise([*firsts, len(copies)]), start=1):
        end = max(end, number * alpha + sum(copies[:stop])) + gamma + sum(executions[begin:stop])
    return end


def test_a_worked_example():
    # Three groups arrive at 2, 4 and 6 and are done at 4, 6 and 8; two at 2 + 2, 5 + 4 or 3 + 4, 5 + 2; one at 4 + 6.
    assert best_grouping(np.full(3, 1.0), np.full(3, 2.0), 0.0, 1.0, 0.0) == [0, 1, 2]
    # Where each group costs 1.5 ms more: 2 + 3 * 3.5 = 12.5, 2 + 3.5 + 5.5 = 11 and 4 + 7.5 = 11.5.
    assert best_grouping(np.full(3, 1.0), np.full(3, 2.0), 0.0, 1.0, 1.5) == [0, 1]
    # Copies that cost far more than execution are one.
    assert best_grouping(np.full(3, 1.0), np.full(3, 0.1), 0.0, 9.0, 0.0) == [0]


@pytest.mark.parametrize("seed", range(60))
def test_no_grouping_is_done_sooner(seed):
    rng = random.Random(seed)
    n = rng.randrange(1, 9)
    copies = np.array([rng.choice([0.1, rng.uniform(0, 3)]) for _ in range(n)])
    executions = np.array([rng.choice([0.0, rng.uniform(0, 3)]) for _ in range(n)])
    costs = (rng.choice([0.0, rng.uniform(0, 4)]), rng.choice([0.0, 0.1, 2.0]), rng.choice([0.0, 0.2, 1.0]))
    found = best_grouping(copies, executions, *costs)
    assert found[0] == 0 and found == sorted(set(found))
    best = min(
        ends([0, *cuts], copies, executions, *costs)
        for count in range(n)
        for cuts in itertools.combinations(range(1, n), count)
    )
    assert ends(found, copies, executions, *costs) == pytest.approx(best)


def test_layers_without_parameters_run_with_the_loaded_layer_before_them(make_layer):
    layers = (
        LayerProfile("cast", "Cast", 0, 0.0, 5.0, None),
        make_layer("a", 10 * MB, 1.0, 0.1),
        LayerProfile("relu", "ReLU", 0, 0.0, 4.0, None),
        make_layer("b", 10 * MB, 1.0, 0.1),
    )
    # While the cast runs, both arrive in one copy: a second one would only cost.
    choices = pipeswitch(Profile(layers, (LinkProfile(0.5, 10.0),), group_overhead_ms=0.1))
    assert choices.placements == ("dha", "load", "dha", "load") and choices.groups == (-1, 0, -1, 0)
    # Without it, the 4 ms after "a" hide the copy of "b".
    choices = pipeswitch(Profile(layers[1:], (LinkProfile(0.5, 10.0),), group_overhead_ms=0.1))
    assert choices.groups == (0, -1, 1)


def test_several_links_are_given_groups_to_carry(make_layer):
    """Copies last far longer than execution: one link is best served by one group, four links by several."""
    layers = tuple(make_layer(str(index), 50 * MB, 0.1, None) for index in range(12))
    one, four = (Profile(layers, (LinkProfile(0.2, 50.0),) * links) for links in (1, 4))
    assert max(pipeswitch(one).groups) <= 2 < max(pipeswitch(four).groups)
    assert set(pipeswitch(four).routes) == {0, 1, 2, 3}
    assert search(four, "pipeswitch").predicted_ms < 0.5 * search(one, "pipeswitch").predicted_ms


@pytest.mark.parametrize("seed", range(20))
def test_several_links_are_never_worse_than_the_grouping_for_one(make_layer, seed):
    rng = random.Random(seed)
    layers = tuple(make_layer(str(i), rng.choice([1, 5, 90]) * MB, rng.uniform(0, 2), None) for i in range(9))
    profile = Profile(layers, (LinkProfile(rng.choice([0.0, 0.3]), 10.0),) * 3)
    groups = search(profile, "pipeswitch", devices=[0]).layers
    starts = [a.group != b for a, b in zip(groups, [-1, *(layer.group for layer in groups)])]
    routed = choices_in_order(profile, [True] * 9, starts)
    assert search(profile, "pipeswitch").predicted_ms <= latency_ms(profile, routed)


def test_where_one_links_groups_are_best_only_their_routes_change(make_layer):
    layers = tuple(make_layer(name, 10 * MB, 0.9, None) for name in "abcd")
    one, two = (Profile(layers, (LinkProfile(0.01, 10.0),) * links) for links in (1, 2))
    assert pipeswitch(one).groups == pipeswitch(two).groups == (0, 1, 2, 3)
    assert pipeswitch(two).routes == (0, 1, 0, 1)
    assert search(two, "pipeswitch").predicted_ms < search(one, "pipeswitch").predicted_ms


def test_a_model_without_parameters_has_no_groups(small_profile):
    choices = pipeswitch(Profile([LayerProfile("relu", "ReLU", 0, 0.0, 1.0, None)], small_profile().links))
    assert choices.groups == (-1,) and choices.routes == ()
