import numpy as np

from deepplan.planning.policies.states import States
from deepplan.planning.policies.thinning import thin


def states_of(now, free):
    none = np.zeros(len(now), dtype=int)
    return States(np.array([now, now, free], dtype=float), none, none, none)


def test_the_lowest_bounds_are_kept_and_the_lowest_of_the_others_is_told():
    kept, lost_ms = thin(states_of([9, 8, 7, 6], [0, 0, 0, 0]), np.array([3.0, 1.0, 4.0, 2.0]), 2, early=True)
    assert kept.tolist() == [1, 3] and lost_ms == 3.0


def test_equal_bounds_are_told_apart_by_time_or_by_links():
    states, ends = states_of([1, 2, 2], [2, 1, 3]), np.full(3, 5.0)
    assert thin(states, ends, 2, early=True)[0].tolist() == [0, 1]
    assert thin(states, ends, 2, early=False)[0].tolist() == [1, 0]
    assert thin(states, ends, 2, early=False)[1] == 5.0
