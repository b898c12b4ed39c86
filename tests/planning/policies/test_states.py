import itertools

import numpy as np
import pytest

from deepplan.planning.policies.states import States, extend, undominated


def states_of(times, route):
    count = len(route)
    return States(np.array(times, dtype=float).T, np.array(route), np.zeros(count, int), np.zeros(count, int))


def test_a_layer_can_open_a_group_on_each_link_be_read_in_place_or_join(small_profile):
    profile = small_profile(2)
    first = extend(States.initial(2), profile, profile.layers[0])
    assert first.route.tolist() == [0, 1, -1]  # there is no group to join
    second = extend(first, profile, profile.layers[1])
    routes = sorted(zip(second.parent.tolist(), second.action.tolist(), second.route.tolist()))
    opened = [(parent, 2 + link, link) for parent in range(3) for link in range(2)]
    assert routes == sorted([(0, 0, 0), (1, 0, 1), (2, 0, -1), (0, 1, 0), (1, 1, 1), *opened])


def test_of_idle_helpers_that_are_alike_only_the_first_is_tried(small_profile):
    profile = small_profile(4)
    first = extend(States.initial(4), profile, profile.layers[0])
    assert first.route.tolist() == [0, 1, -1]
    second = extend(first, profile, profile.layers[1])
    opened = (second.parent == 1) & (second.action > 1)
    assert second.route[opened].tolist() == [0, 1, 2]


def test_joining_moves_the_arrival_of_the_whole_group(small_profile):
    profile = small_profile(1)
    # After the embedding (40 MB, 0.1 ms) is loaded, the next layer (10 MB, 2 ms) joins: 5.01 + 0.1 + 2.
    joined = extend(extend(States.initial(1), profile, profile.layers[0]), profile, profile.layers[1])
    ends = dict(zip(zip(joined.parent.tolist(), joined.action.tolist()), joined.now.tolist()))
    assert ends[(0, 1)] == pytest.approx(7.11)
    assert ends[(0, 2)] == pytest.approx(4.01 + 1.01 + 2.0)


def test_a_state_is_dominated_by_one_as_good_in_every_respect():
    times = [(1, 1, 1), (2, 1, 1), (0, 2, 1), (1, 1, 1), (5, 5, 5)]
    assert sorted(undominated(states_of(times, [0, 0, 0, 0, 1])).tolist()) == [0, 2, 4]


def test_dominance_over_many_states_is_that_of_pairs():
    rng = np.random.default_rng(0)
    times = rng.integers(0, 12, size=(1500, 4)).astype(float)
    route = rng.integers(0, 2, size=1500)
    kept = set(undominated(states_of(times, route)).tolist())
    rows = {(int(r), *t.tolist()) for r, t in zip(route, times)}
    front = {
        row
        for row in rows
        if not any(o != row and o[0] == row[0] and all(map(float.__le__, o[1:], row[1:])) for o in rows)
    }
    found = [(int(route[i]), *times[i].tolist()) for i in kept]
    assert len(found) == len(set(found)) and set(found) == front
    assert not any(a == b for a, b in itertools.combinations(found, 2))
