"""The trace of Azure Functions: small ones written by hand, with exact expectations, and a sample of the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepplan.errors import InvalidInputError
from deepplan.serving.arrivals import Arrivals
from deepplan.serving.azure_trace import azure

NAMES = "HashOwner,HashApp,HashFunction,Trigger"
# Beside the project, as it may not be part of it.
SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "azure_functions_2019" / "500_invocations.csv"

Write = Callable[[str], Path]


def trace(rows: Sequence[Sequence[int]], first_minute: int = 1) -> str:
    """A file's text with one function a row."""
    header = ",".join([NAMES, *(str(first_minute + minute) for minute in range(len(rows[0])))])
    functions = [",".join(["o", "a", f"f{i}", "http", *map(str, row)]) for i, row in enumerate(rows)]
    return "\n".join([header, *functions, ""])


def count(arrivals: Arrivals) -> list[list[int]]:
    """How many arrivals each instance has, by minute."""
    ones = (arrivals.times_ms[arrivals.instances == i] for i in range(arrivals.instance_count))
    minutes = round(arrivals.duration_ms / 60_000)
    return [np.histogram(times, minutes, (0, arrivals.duration_ms))[0].tolist() for times in ones]


ROWS = [[3, 0, 1], [0, 5, 0], [10, 20, 30], [0, 0, 4], [100, 0, 0]]  # 173 in 3 minutes


def test_at_its_own_rate_a_trace_is_replayed_count_by_count(write: Write) -> None:
    arrivals = azure(write(trace(ROWS)), total_rate_per_s=173 / 180, instance_count=5)
    assert count(arrivals) == ROWS
    assert arrivals.duration_ms == 180_000
    assert arrivals.per_minute().tolist() == [113, 25, 35]


def test_functions_are_folded_onto_instances_in_turn(write: Write) -> None:
    arrivals = azure(write(trace(ROWS)), total_rate_per_s=173 / 180, instance_count=2)
    assert count(arrivals) == [[113, 20, 31], [0, 5, 4]]


def test_instances_beyond_the_functions_are_idle(write: Write) -> None:
    arrivals = azure(write(trace(ROWS)), total_rate_per_s=173 / 180, instance_count=2**31)
    assert arrivals.instance_count == 2**31
    assert arrivals.instances.max() == 4


def test_whole_multiples_are_exact(write: Write) -> None:
    arrivals = azure(write(trace(ROWS)), total_rate_per_s=4 * 173 / 180, instance_count=5)
    assert count(arrivals) == (4 * np.array(ROWS)).tolist()


def test_minutes_are_taken_by_position_and_scaled_to_the_rate(write: Write) -> None:
    path = write(trace(ROWS, first_minute=480))
    arrivals = azure(path, total_rate_per_s=2 * 60 / 120, instance_count=2, first_minute=1)
    assert count(arrivals) == [[40, 62], [10, 8]]
    arrivals = azure(path, total_rate_per_s=25 / 60, instance_count=2, first_minute=1, minutes=1)
    assert count(arrivals) == [[20], [5]]
    assert arrivals.duration_ms == 60_000


def test_a_fraction_is_one_more_as_often_as_it_says(write: Write) -> None:
    """Every minute is to have 7 / 4 arrivals: 1 or 2, and 2 in three quarters of 6,000."""
    path = write(trace([[7] * 1000] * 6))
    counts = np.array(count(azure(path, total_rate_per_s=6 * 7 / 4 / 60, instance_count=6, seed=1)))
    assert set(counts.ravel().tolist()) == {1, 2}
    assert counts.mean() == pytest.approx(1.75, abs=4 * 0.433 / np.sqrt(6000))


def test_arrivals_are_uniform_within_their_minute(write: Write) -> None:
    arrivals = azure(write(trace([[0, 20_000, 0]])), total_rate_per_s=20_000 / 180, instance_count=1, seed=2)
    observed, _ = np.histogram(arrivals.times_ms, 10, (60_000, 120_000))
    assert observed.sum() == 20_000
    assert ((observed - 2000) ** 2 / 2000).sum() < 27.9  # chi-square, 9 degrees of freedom: once in a thousand


def test_a_seed_stands_for_its_arrivals(write: Write) -> None:
    path = write(trace(ROWS))
    first, again, other = (azure(path, total_rate_per_s=1.5, instance_count=3, seed=seed) for seed in (1, 1, 2))
    assert first.times_ms.tolist() == again.times_ms.tolist() != other.times_ms.tolist()
    assert first.instances.tolist() == again.instances.tolist()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 6).flatmap(
        lambda minutes: st.lists(
            st.lists(st.integers(0, 40), min_size=minutes, max_size=minutes), min_size=1, max_size=9
        )
    ),
    instance_count=st.integers(1, 12),
    rate_per_s=st.floats(0.01, 5),
)
def test_every_scaled_count_is_its_expectation_rounded(
    write: Write, rows: list[list[int]], instance_count: int, rate_per_s: float
) -> None:
    path, total = write(trace(rows)), sum(map(sum, rows))
    if total == 0:
        with pytest.raises(InvalidInputError, match="no invocations"):
            azure(path, total_rate_per_s=rate_per_s, instance_count=instance_count)
        return
    folded = np.zeros((instance_count, len(rows[0])))
    for function, row in enumerate(rows):
        folded[function % instance_count] += row
    expected = folded * rate_per_s * 60 * len(rows[0]) / total
    counts = np.array(count(azure(path, total_rate_per_s=rate_per_s, instance_count=instance_count)))
    assert (abs(counts - expected) < 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace.csv: line 1 is ''; a trace of Azure Functions begins with HashOwner,HashApp,"),
        ("1,2,3\n", "line 1 is '1,2,3'; a trace"),
        (f"{NAMES}\n", "line 1 is 'HashOwner"),
        (f"{NAMES},one\n", "line 1 is"),
        (f"{NAMES},1,2,4\n", "line 1 has minute 4 where 3 is due"),
        (f"{NAMES},1,2\no,a,f,http,1,2\no,a,f,http,1\n", "line 3 has 5 columns, the header 6; mend"),
        (f"{NAMES},1,2\no,a,f,http,1,2,3\n", "line 2 has 7 columns, the header 6"),
        (f"{NAMES},1,2\n\n", "line 2 has 1 columns"),
        (f"{NAMES},1,2\no,a,f,http,1,-2\n", "line 2 has '-2' as its count 2; it must be a whole number from 0"),
        (f"{NAMES},1,2\no,a,f,http,1.5,2\n", "line 2 has '1.5' as its count 1"),
        (f"{NAMES},1,2\no,a,f,http,,2\n", "line 2 has '' as its count 1"),
        (f"{NAMES},1,2\no,a,f,http,1,\n", "line 2 has '' as its count 2"),
        (f"{NAMES},1,2,3\no,a,f,http,1,,2\n", "line 2 has '' as its count 2"),
        (f"{NAMES},1\no,a,f,http,\n", "line 2 has '' as its count 1"),
        (f"{NAMES},1,2\no,a,f,http,1, 2\n", "line 2 has ' 2' as its count 2"),
        (f"{NAMES},1,2\no,a,f,http,1,1e3\n", "line 2 has '1e3' as its count 2"),
        (f"{NAMES},1,2\no,a,f,http,1,nan\n", "line 2 has 'nan' as its count 2"),
        (f"{NAMES},1,2\no,a,f,http,1,1000000000\n", "line 2 has '1000000000' as its count 2; .* at most 9 digits"),
        (f"{NAMES},1,2\no,a,f,http,1,{'9' * 10_000}\n", "line 2 has '9{40}[.]{3}' as its count 2"),
        (f"{NAMES},1,2\n", "trace.csv has no invocations in 2 minutes from first_minute=0; take others"),
        (f"{NAMES},1,2\no,a,f,http,0,0\n", "no invocations in 2 minutes"),
        ("x" * 2_000_000, "line 1 is longer than"),
        (f"{NAMES},1\n" + "x" * 2_000_000, "line 2 is longer than"),
    ],
)
def test_a_line_that_is_no_function_is_named(write: Write, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        azure(write(text), total_rate_per_s=1, instance_count=1)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.lists(st.text("0123456789+-. ,\x00e\u00b2", max_size=12), min_size=1, max_size=4))
def test_any_text_is_a_count_or_refused(write: Write, fields: list[str]) -> None:
    """The fast parser takes exactly the digits it should, and nothing else gets past it."""
    text = f"{trace([[1] * len(fields)])}o,a,f,http,{','.join(fields)}\n"
    if all(field.isascii() and field.isdigit() and int(field) < 10**9 for field in fields):
        total = len(fields) + sum(map(int, fields))
        arrivals = azure(write(text), total_rate_per_s=1, instance_count=1, minutes=1)
        assert len(arrivals) == 60 or total == 0
    else:
        with pytest.raises(InvalidInputError, match=r"line 3 has"):
            azure(write(text), total_rate_per_s=1, instance_count=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_rate_per_s": 0}, "total_rate_per_s is 0"),
        ({"total_rate_per_s": 1e9}, "at most 100000000; lower the rate"),
        ({"instance_count": 0}, "instance_count is 0"),
        ({"first_minute": 3}, "first_minute is 3; it must be a number from 0 to 2"),
        ({"first_minute": -1}, "first_minute is -1"),
        ({"minutes": 0}, "minutes is 0; it must be a number from 1 to 3"),
        ({"first_minute": 1, "minutes": 3}, "minutes is 3; it must be a number from 1 to 2"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_arguments_out_of_range_are_refused(write: Write, changes: dict[str, float], message: str) -> None:
    arguments: dict[str, float] = {"total_rate_per_s": 1, "instance_count": 1, **changes}
    with pytest.raises(InvalidInputError, match=message):
        azure(write(trace(ROWS)), **arguments)  # type: ignore[arg-type]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot read .*missing"):
        azure(tmp_path / "missing", total_rate_per_s=1, instance_count=1)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample of the trace is not beside the project")
def test_a_sample_of_the_real_trace_keeps_its_shape() -> None:
    rows = np.loadtxt(SAMPLE, dtype=np.int64, delimiter=",", skiprows=1, usecols=range(4, 484))
    arrivals = azure(SAMPLE, total_rate_per_s=rows.sum() / 480 / 60, instance_count=500)
    assert len(arrivals) == 3_037_902
    assert count(arrivals) == rows.tolist()
    folded = azure(SAMPLE, total_rate_per_s=150, instance_count=120, first_minute=60, minutes=180)
    assert folded.rate_per_s == pytest.approx(150, rel=1e-3)
    by_instance = np.bincount(np.arange(500) % 120, rows[:, 60:240].sum(axis=1))
    shares = np.bincount(folded.instances, minlength=120) / len(folded)
    assert shares == pytest.approx(by_instance / by_instance.sum(), abs=1e-3)
