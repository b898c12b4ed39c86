import dataclasses
import itertools

import numpy as np
import pytest

from deepplan.planning.policies.states import States, extend, free_to_join, undominated

MB = 1_000_000


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


@pytest.fixture
def coded_profile(small_profile):
    """One link; 10 MB are decoded in 0.1 ms, in pieces of 30 MB, of which each costs 0.01 ms more."""
    layers = [dataclasses.replace(layer, coded_bytes=layer.size_bytes // 2) for layer in small_profile().layers]
    return dataclasses.replace(small_profile(), layers=layers, decode_gbps=100.0, coded_piece_bytes=30 * MB)


def test_joining_a_coded_group_moves_its_arrival_by_another_piece(coded_profile):
    opened = extend(States.initial(1, coding=True), coded_profile, coded_profile.layers[1])
    assert opened.route.tolist() == [0, 1, -1]  # a plain group, a coded one, in place
    assert opened.now[1] == pytest.approx(0.01 + 0.5 + 0.1 + 2.0)
    joined = extend(opened, coded_profile, coded_profile.layers[0])
    (position,) = np.flatnonzero((joined.parent == 1) & (joined.action == 1))
    assert joined.decoded[position] == 50 * MB
    assert joined.free[0, position] == pytest.approx(2 * 0.01 + 2.5)
    assert joined.now[position] == pytest.approx(2.52 + 0.3 + 2.0 + 0.1)
    # What joins the second piece until it is full costs no further latency.
    assert free_to_join(joined, coded_profile)[0, position] == pytest.approx(2.5 + 0.01 * 5 / 3)


def test_coded_groups_are_compared_without_their_pieces_and_by_their_bytes(coded_profile):
    # The same arrival without pieces; the first has 29 MB in one piece, the second 31 MB in two, the third as the
    # second but free as early as the first: more bytes, but none of them cost the link anything.
    decoded = np.array([29 * MB, 31 * MB, 31 * MB])
    times = np.array([(5.0, 1.0 + 0.01 + 0.29, 1.01), (5.0, 1.0 + 0.02 + 0.3, 1.02), (5.0, 1.0 + 0.01 + 0.29, 1.01)]).T
    none = np.zeros(3, dtype=int)
    states = States(times, none + 1, none, none, decoded)
    assert sorted(undominated(states, coded_profile).tolist()) == [0, 2]


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
