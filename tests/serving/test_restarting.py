"""Waits that grow with crashes that come one after the other, and an end of them."""

from deepplan.serving.restarting import RestartPolicy

POLICY = RestartPolicy(first_delay_s=1.0, longest_delay_s=3.0, max_crashes=4, window_s=60.0)


def test_waits_double_up_to_the_longest() -> None:
    assert [POLICY.delay_s([100.0] * count) for count in (1, 2, 3)] == [1.0, 2.0, 3.0]


def test_too_many_in_the_window_are_the_end() -> None:
    assert POLICY.delay_s([100.0, 110.0, 120.0, 160.0]) is None


def test_those_before_the_window_are_forgotten() -> None:
    assert POLICY.delay_s([99.0, 110.0, 120.0, 160.0]) == 3.0
    assert POLICY.delay_s([10.0, 20.0, 30.0, 160.0]) == 1.0
