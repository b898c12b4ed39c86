"""Arrivals that are drawn: the same for a seed, with the statistics asked for; and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepplan.errors import InvalidInputError
from deepplan.serving.arrivals import MAX_ARRIVALS, Arrivals, bursty, gamma, poisson

GENERATORS: dict[str, Callable[..., Arrivals]] = {
    "poisson": partial(poisson, 50, instance_count=7, duration_s=130),
    "gamma": partial(gamma, 50, cv=3, instance_count=7, duration_s=130),
    "bursty": partial(bursty, [10, 50, 90], instance_count=7, step_s=40),
}


def make_arrivals(
    times_ms: object = (0.0, 1.0), instances: object = (0, 1), instance_count: object = 2, duration_ms: object = 10.0
) -> Arrivals:
    times = np.array(times_ms, np.float64) if isinstance(times_ms, tuple) else times_ms
    drawn = np.array(instances, np.int32) if isinstance(instances, tuple) else instances
    return Arrivals(times, drawn, instance_count, duration_ms)  # type: ignore[arg-type]


def gaps_ms(arrivals: Arrivals) -> np.ndarray:
    return np.diff(arrivals.times_ms, prepend=0.0)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_seed_stands_for_its_arrivals(name: str) -> None:
    draw = GENERATORS[name]
    first, again, other = draw(seed=1), draw(seed=1), draw(seed=2)
    assert first.times_ms.tolist() == again.times_ms.tolist()
    assert first.instances.tolist() == again.instances.tolist()
    assert first.times_ms[:20].tolist() != other.times_ms[:20].tolist()
    assert first.instances[:20].tolist() != other.instances[:20].tolist()
    assert draw().times_ms.tolist() == draw(seed=0).times_ms.tolist()


@pytest.mark.parametrize("name", GENERATORS)
def test_instances_are_uniform(name: str) -> None:
    """Pearson's chi-square with 6 degrees of freedom passes 22.5 once in a thousand."""
    arrivals = GENERATORS[name](seed=3)
    observed = np.bincount(arrivals.instances, minlength=7)
    expected = len(arrivals) / 7
    assert len(observed) == 7
    assert ((observed - expected) ** 2 / expected).sum() < 22.5


def test_poisson_has_its_rate_and_exponential_gaps() -> None:
    arrivals = poisson(200, instance_count=3, duration_s=500, seed=4)
    gaps = gaps_ms(arrivals)
    assert arrivals.duration_ms == 500_000
    assert abs(len(arrivals) - 100_000) < 4 * math.sqrt(100_000)
    assert arrivals.rate_per_s == len(arrivals) / 500
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.02)
    assert (gaps > 5).mean() == pytest.approx(math.exp(-1), abs=0.01)
    assert np.bincount((arrivals.times_ms / 1000).astype(int)).var() == pytest.approx(200, rel=0.25)


@pytest.mark.parametrize("cv", [0.01, 0.5, 1, 2, 5])
def test_gamma_has_its_rate_and_coefficient_of_variation(cv: float) -> None:
    arrivals = gamma(100, cv=cv, instance_count=3, duration_s=2000, seed=5)
    gaps = gaps_ms(arrivals)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)
    assert arrivals.rate_per_s == pytest.approx(100, rel=4 * max(cv, 0.1) / math.sqrt(200_000))


def test_gamma_with_cv_1_is_poisson() -> None:
    gaps = gaps_ms(gamma(200, cv=1, instance_count=3, duration_s=500, seed=6))
    assert (gaps > 5).mean() == pytest.approx(math.exp(-1), abs=0.01)
    assert (gaps > 15).mean() == pytest.approx(math.exp(-3), abs=0.005)


def test_bursty_has_each_rate_in_its_step() -> None:
    rates = [20, 200, 5, 80]
    arrivals = bursty(rates, instance_count=3, step_s=60, seed=7)
    assert arrivals.duration_ms == 240_000
    for count, rate in zip(arrivals.per_minute(), rates):
        assert abs(count - 60 * rate) < 4 * math.sqrt(60 * rate)


@settings(max_examples=100, deadline=None)
@given(
    rate_per_s=st.floats(1e-6, 300),
    cv=st.floats(1e-3, 1e2),
    instance_count=st.integers(1, 2**31),
    duration_s=st.floats(2e-3, 20),
    seed=st.integers(0, 2**63),
)
def test_whatever_is_asked_for_the_arrivals_are_sound(
    rate_per_s: float, cv: float, instance_count: int, duration_s: float, seed: int
) -> None:
    """Most of it is what Arrivals checks when it is made."""
    common = {"instance_count": instance_count, "seed": seed}
    for arrivals in (
        poisson(rate_per_s, duration_s=duration_s, **common),
        gamma(rate_per_s, cv=cv, duration_s=duration_s, **common),
        bursty([rate_per_s, 2 * rate_per_s], step_s=duration_s / 2, **common),
    ):
        assert arrivals.duration_ms == pytest.approx(duration_s * 1e3)
        assert arrivals.instance_count == instance_count
        assert arrivals.per_minute().sum() == len(arrivals) == len(arrivals.instances)


def test_arrivals_are_counted_by_minute() -> None:
    arrivals = make_arrivals((0.0, 59_999.9, 60_000.0, 150_000.0), (0, 1, 0, 1), 2, 150_000.0)
    assert arrivals.per_minute().tolist() == [2, 1, 1]
    assert arrivals.rate_per_s == pytest.approx(4 / 150)


def test_an_arrival_at_the_very_end_is_of_the_last_minute() -> None:
    assert make_arrivals((0.0, 120_000.0), (0, 1), 2, 120_000).per_minute().tolist() == [1, 1]


def test_there_may_be_no_arrivals() -> None:
    arrivals = poisson(1e-6, instance_count=1, duration_s=61)
    assert (len(arrivals), arrivals.rate_per_s, arrivals.per_minute().tolist()) == (0, 0, [0, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times_ms": (0.0, 1.0, 2.0)}, "3 times_ms and 2 instances; give one"),
        ({"times_ms": (0.0, math.nan)}, r"times_ms\[1\] is nan; it must be from 0 to duration_ms=10"),
        ({"times_ms": (0.0, math.inf)}, r"times_ms\[1\] is inf"),
        ({"times_ms": (-1.0, 2.0)}, r"times_ms\[0\] is -1.0"),
        ({"times_ms": (0.0, 10.5)}, r"times_ms\[1\] is 10.5; it must be from 0 to duration_ms=10"),
        ({"times_ms": (3.0, 2.0)}, r"times_ms\[1\] is 2.0; it must be no less .*sort"),
        ({"times_ms": [0.0, 1.0]}, "one-dimensional array of float64"),
        ({"times_ms": np.zeros(2, np.float32)}, "one-dimensional array of float64"),
        ({"times_ms": np.zeros((2, 1))}, "one-dimensional array of float64"),
        ({"instances": np.zeros(2, np.int64)}, "one-dimensional array of int32"),
        ({"instances": (0, 2)}, r"instances\[1\] is 2; it must be from 0 and below instance_count=2"),
        ({"instances": (-1, 0)}, r"instances\[0\] is -1"),
        ({"instance_count": 0}, "instance_count is 0"),
        ({"instance_count": 2.5}, "instance_count is 2.5"),
        ({"duration_ms": 0}, "duration_ms is 0"),
        ({"duration_ms": math.inf}, "duration_ms is inf"),
        ({"duration_ms": 1e12}, "duration_ms is 1000000000000"),
    ],
)
def test_arrivals_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_arrivals(**changes)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: poisson(0, instance_count=1, duration_s=1), "rate_per_s is 0"),
        (lambda: poisson(math.nan, instance_count=1, duration_s=1), "rate_per_s is nan"),
        (lambda: poisson(1, instance_count=0, duration_s=1), "instance_count is 0"),
        (lambda: poisson(1, instance_count=1, duration_s=-1), "duration_s is -1"),
        (lambda: poisson(1, instance_count=1, duration_s=1, seed=-1), "seed is -1"),
        (lambda: poisson(1, instance_count=1, duration_s=1, seed=0.5), "seed is 0.5"),  # type: ignore[arg-type]
        (
            lambda: poisson(1e9, instance_count=1, duration_s=1),
            f"is 1000000000; it must be at most {MAX_ARRIVALS}; lower",
        ),
        (lambda: gamma(1, cv=0, instance_count=1, duration_s=1), "cv is 0"),
        (lambda: gamma(1, cv=101, instance_count=1, duration_s=1), "cv is 101"),
        (lambda: gamma(1e9, cv=1, instance_count=1, duration_s=1), "lower the rate"),
        (lambda: bursty([], instance_count=1, step_s=1), r"rates_per_s is \[\]"),
        (lambda: bursty([1, -2], instance_count=1, step_s=1), r"rates_per_s\[1\] is -2"),
        (lambda: bursty([1], instance_count=1, step_s=0), "step_s is 0"),
        (lambda: bursty([1e8, 1e8], instance_count=1, step_s=1), "lower the rate"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Callable[[], Arrivals], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        draw()


def test_workloads_need_neither_torch_nor_the_compiled_core() -> None:
    program = (
        "import sys, deepplan.serving.arrivals, deepplan.serving.azure_trace, deepplan.serving.recorded_trace\n"
        "print(*{'torch', 'deepplan._core'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
