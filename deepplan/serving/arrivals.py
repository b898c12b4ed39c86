"""Open-loop workloads: when requests are made and of which instance, whatever becomes of the requests before.

The synthetic ones are here, recorded ones in `recorded_trace` and `azure_trace`. The same arguments and seed give the
same arrivals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from deepplan.errors import InvalidInputError
from deepplan.planning.records import Count, Range, coerce, refusal

MINUTE_MS = 60_000
MAX_DURATION_MS = 366 * 24 * 60 * MINUTE_MS
MAX_ARRIVALS = 100_000_000  # more is a mistake in a rate or a duration, and would take gigabytes before anyone noticed

RatePerS = Annotated[float, Range(1e-6, 1e9)]
DurationS = Annotated[float, Range(1e-3, MAX_DURATION_MS / 1e3)]
DurationMs = Annotated[float, Range(1e-3, MAX_DURATION_MS)]
# Beyond these, gaps are equal or zero but for a few as far as 64-bit floats can tell.
CoefficientOfVariation = Annotated[float, Range(1e-3, 1e2)]
Seed = Annotated[int, Range(0, 2**63)]


@dataclass(frozen=True, eq=False)
class Arrivals:
    """When requests are made and of which instance; raises InvalidInputError for what cannot be.

    `times_ms` (n,) float64: from 0 to `duration_ms`, not decreasing. `instances` (n,) int32: one an arrival, from 0 and
    below `instance_count`. There may be none at all.
    """

    times_ms: npt.NDArray[np.float64]
    instances: npt.NDArray[np.int32]
    instance_count: int
    duration_ms: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "instance_count", coerce(Count, self.instance_count, "instance_count"))
        object.__setattr__(self, "duration_ms", coerce(DurationMs, self.duration_ms, "duration_ms"))
        times_ms, instances = self.times_ms, self.instances
        _check_array(times_ms, "times_ms", "float64")
        _check_array(instances, "instances", "int32")
        if len(times_ms) != len(instances):
            raise InvalidInputError(
                f"{len(times_ms)} times_ms and {len(instances)} instances; give one for each arrival"
            )
        outside = ~((times_ms >= 0) & (times_ms <= self.duration_ms))
        _refuse_first(outside, times_ms, "times_ms", f"from 0 to duration_ms={self.duration_ms:g}")
        earlier = np.diff(times_ms, prepend=0.0) < 0
        _refuse_first(earlier, times_ms, "times_ms", "no less than the one before it; sort the arrivals by time")
        unknown = (instances < 0) | (instances >= self.instance_count)
        _refuse_first(unknown, instances, "instances", f"from 0 and below instance_count={self.instance_count}")

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def rate_per_s(self) -> float:
        """The mean rate over the whole duration."""
        return len(self) / self.duration_ms * 1e3

    def per_minute(self) -> npt.NDArray[np.int64]:
        """How many arrivals each minute has; the last one may be cut short by the end."""
        minutes = math.ceil(self.duration_ms / MINUTE_MS)
        minute = (self.times_ms / MINUTE_MS).astype(np.int64)
        np.minimum(minute, minutes - 1, out=minute)  # one at the very end is still in the last
        return np.bincount(minute, minlength=minutes)


def poisson(rate_per_s: float, *, instance_count: int, duration_s: float, seed: int = 0) -> Arrivals:
    """Poisson arrivals at one rate, each of an instance drawn uniformly: DeepPlan (EuroSys'23), section 5.3.

    Raises InvalidInputError for numbers out of range, as do the others.
    """
    random = generator(seed)
    rate_per_s, duration_s = coerce(RatePerS, rate_per_s, "rate_per_s"), coerce(DurationS, duration_s, "duration_s")
    check_expected(rate_per_s * duration_s)
    duration_ms = duration_s * 1e3
    return of_any_instance(_poisson_ms(random, rate_per_s, 0.0, duration_ms), random, instance_count, duration_ms)


def gamma(rate_per_s: float, *, cv: float, instance_count: int, duration_s: float, seed: int = 0) -> Arrivals:
    """Arrivals whose gaps, from time 0 on, are gamma-distributed with the coefficient of variation `cv`.

    1 is a Poisson process; the larger, the more arrivals come in clumps. Instances are drawn uniformly. As the clock
    starts at an arrival, about `(cv**2 - 1) / 2` more than `rate_per_s * duration_s` are to be expected.
    """
    random = generator(seed)
    rate_per_s, duration_s = coerce(RatePerS, rate_per_s, "rate_per_s"), coerce(DurationS, duration_s, "duration_s")
    shape = coerce(CoefficientOfVariation, cv, "cv") ** -2
    check_expected(rate_per_s * duration_s)
    duration_ms, mean_gap_ms = duration_s * 1e3, 1e3 / rate_per_s
    blocks, reached_ms = [], 0.0
    while reached_ms < duration_ms:
        blocks.append(reached_ms + np.cumsum(random.gamma(shape, mean_gap_ms / shape, size=4096)))
        reached_ms = float(blocks[-1][-1])
    times_ms = np.concatenate(blocks)
    return of_any_instance(times_ms[times_ms < duration_ms], random, instance_count, duration_ms)


def bursty(rates_per_s: Sequence[float], *, instance_count: int, step_s: float, seed: int = 0) -> Arrivals:
    """Rising (or any other) load: Poisson with each of `rates_per_s` for `step_s` seconds, one after the other.

    Instances are drawn uniformly.
    """
    random = generator(seed)
    rates_per_s = [coerce(RatePerS, rate, f"rates_per_s[{step}]") for step, rate in enumerate(rates_per_s)]
    if not rates_per_s:
        raise refusal("rates_per_s", rates_per_s, "one rate a step, at least one")
    step_s = coerce(DurationS, step_s, "step_s")
    check_expected(sum(rates_per_s) * step_s)
    ends_ms = [step * step_s * 1e3 for step in range(len(rates_per_s) + 1)]
    steps = [_poisson_ms(random, *step) for step in zip(rates_per_s, ends_ms, ends_ms[1:])]
    return of_any_instance(np.concatenate(steps), random, instance_count, ends_ms[-1])


def generator(seed: int) -> np.random.Generator:
    """The source of everything that is drawn for one workload; raises InvalidInputError for a negative seed."""
    return np.random.default_rng(coerce(Seed, seed, "seed"))


def check_expected(arrivals: float) -> None:
    """Raises InvalidInputError where more than MAX_ARRIVALS are to be expected."""
    if arrivals > MAX_ARRIVALS:
        expected = f"at most {MAX_ARRIVALS}; lower the rate or the duration"
        raise refusal("the expected number of arrivals", round(arrivals), expected)


def of_any_instance(
    times_ms: npt.NDArray[np.float64], random: np.random.Generator, instance_count: int, duration_ms: float
) -> Arrivals:
    """Arrivals at these times, each of an instance drawn uniformly."""
    instance_count = coerce(Count, instance_count, "instance_count")
    instances = random.integers(instance_count, size=len(times_ms), dtype=np.int32)
    return Arrivals(times_ms, instances, instance_count, duration_ms)


def _poisson_ms(
    random: np.random.Generator, rate_per_s: float, start_ms: float, end_ms: float
) -> npt.NDArray[np.float64]:
    """A Poisson process from start to end: given how many they are, its arrivals are uniform and independent."""
    count = random.poisson(rate_per_s * (end_ms - start_ms) / 1e3)
    return np.sort(random.uniform(start_ms, end_ms, count))


def _check_array(array: object, name: str, dtype: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        raise refusal(name, array, f"a one-dimensional array of {dtype}")


def _refuse_first(bad: npt.NDArray[np.bool_], values: npt.NDArray[np.generic], name: str, expected: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise refusal(f"{name}[{first}]", values[first].item(), expected)
