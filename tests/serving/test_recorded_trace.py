"""Arrivals from a file: what was written comes back, and every line that is none is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepplan.errors import InvalidInputError
from deepplan.serving.arrivals import poisson
from deepplan.serving.recorded_trace import recorded

Write = Callable[[str], Path]


def test_arrivals_come_back_as_they_were_written(write: Write) -> None:
    drawn = poisson(100, instance_count=5, duration_s=20)
    path = write("".join(f"{time!r},{instance}\n" for time, instance in zip(drawn.times_ms.tolist(), drawn.instances)))
    read = recorded(path, instance_count=5)
    assert read.times_ms.tolist() == drawn.times_ms.tolist()
    assert read.instances.tolist() == drawn.instances.tolist()
    assert read.instance_count == 5


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times_ms=st.lists(st.floats(0, 1e10), min_size=1).map(sorted))
def test_any_times_come_back(write: Write, times_ms: list[float]) -> None:
    read = recorded(write("\n".join(map(repr, times_ms))), instance_count=2**31)
    assert read.times_ms.tolist() == times_ms
    assert times_ms[-1] < read.duration_ms <= times_ms[-1] + 1


def test_instances_are_those_of_the_file(write: Write) -> None:
    path = write("0, 2\r\n1.5,0\n 1.5 ,\t7 \n2e3,2")
    read = recorded(path)
    assert read.times_ms.tolist() == [0, 1.5, 1.5, 2000]
    assert read.instances.tolist() == [2, 0, 7, 2]
    assert (read.instance_count, read.duration_ms) == (8, 2001)
    assert recorded(path, instance_count=100).instance_count == 100


def test_instances_that_the_file_leaves_out_are_drawn(write: Write) -> None:
    path = write("".join(f"{time}\n" for time in range(7000)))
    first, again, other = (recorded(path, instance_count=7, seed=seed) for seed in (1, 1, 2))
    assert first.instances.tolist() == again.instances.tolist() != other.instances.tolist()
    assert first.times_ms.tolist() == other.times_ms.tolist()
    assert abs(np.bincount(first.instances, minlength=7) - 1000).max() < 120


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\nx\n", r"trace.csv: line 2 is 'x'; it must be a time in ms"),
        ("time_ms,instance\n", "line 1 is 'time_ms,instance'"),
        ("1,0\n\n2,0\n", "line 2 is ''"),
        ("1,0\n2,0,0\n", "line 2 is '2,0,0'"),
        ("1,0\n2,\n", "line 2 is '2,'"),
        ("1,0\n2,-1\n", "line 2 is '2,-1'"),
        ("1,0\n2,0.5\n", "line 2 is '2,0.5'"),
        ("-1\n", "line 1 is '-1'"),
        ("nan\n", "line 1 is 'nan'"),
        ("1_000\n", "line 1 is '1_000'"),
        ("1" * 50 + "x\n", "line 1 is '1{40}[.]{3}'"),
        ("1\n1e400\n", "line 2 has time inf, over a year; count ms from"),
        ("1700000000000\n", "line 1 has time 1.7e[+]12, over a year"),
        ("5\n4.5\n", "line 2 has time 4.5, the one before 5; sort"),
        ("1\n2,0\n", "line 2 is '2,0'; give all lines an instance or none"),
        ("1,0\n2\n", "line 2 is '2'; give all lines an instance or none"),
        ("1,0\n2,3\n", "line 2 has instance 3; raise instance_count=3"),
        ("", "trace.csv is empty"),
    ],
)
def test_a_line_that_is_no_arrival_is_named(write: Write, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        recorded(write(text), instance_count=3)


def test_instances_must_come_from_somewhere(write: Write) -> None:
    with pytest.raises(InvalidInputError, match="names no instances; pass instance_count"):
        recorded(write("1\n2\n"))


def test_instances_must_fit_32_bits(write: Write) -> None:
    assert recorded(write("1,2147483647")).instances.tolist() == [2**31 - 1]
    with pytest.raises(InvalidInputError, match="line 1 has instance 2147483648; number them"):
        recorded(write("1,2147483648"))


def test_arguments_are_checked_before_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="instance_count is 0"):
        recorded(tmp_path / "missing", instance_count=0)
    with pytest.raises(InvalidInputError, match="seed is -1"):
        recorded(tmp_path / "missing", seed=-1)
    with pytest.raises(InvalidInputError, match=r"cannot read .*missing"):
        recorded(tmp_path / "missing")
