"""The Azure Functions trace of 2019 as a workload.

Source: Shahrad et al., "Serverless in the Wild", USENIX ATC 2020. DeepPlan (EuroSys'23), section 5.3, serves it so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt

from deepplan.errors import InvalidInputError
from deepplan.planning.records import Count, Range, coerce
from deepplan.serving.arrivals import MINUTE_MS, Arrivals, RatePerS, check_expected, generator
from deepplan.serving.trace_lines import bad_line, shown, trace_lines

Counts = npt.NDArray[np.int64]

_NAMES = [b"HashOwner", b"HashApp", b"HashFunction", b"Trigger"]
_MAX_DIGITS = 9  # of a count: sums over any number of functions that fits in memory then fit in 64 bits


def azure(
    path: str | os.PathLike[str],
    *,
    total_rate_per_s: float,
    instance_count: int,
    first_minute: int = 0,
    minutes: int | None = None,
    seed: int = 0,
) -> Arrivals:
    """One day's `invocations_per_function_md.anon.dNN.csv`, or any file like it, at a rate of one's own.

    Function i, in the file's order, goes to instance i mod `instance_count`. `minutes` columns (default: all that are
    left) are taken from the `first_minute`-th on, counted from 0, and scaled so that their mean is `total_rate_per_s`.
    Within its minute every arrival is uniform.

    A scaled count is rarely whole: it is rounded up with the probability of its fraction, else down. So its expectation
    is exact, a trace at its own rate is replayed count by count, and its bursts are the trace's and not the drawing's,
    as with Poisson counts. Raises InvalidInputError naming the file and the line.
    """
    random = generator(seed)
    rate_per_s = coerce(RatePerS, total_rate_per_s, "total_rate_per_s")
    instance_count = coerce(Count, instance_count, "instance_count")
    lines = trace_lines(path)
    columns = _read_header(path, lines)
    first = coerce(Annotated[int, Range(0, columns - 1)], first_minute, "first_minute")
    left = columns - first
    taken = left if minutes is None else coerce(Annotated[int, Range(1, left)], minutes, "minutes")
    expected = rate_per_s * taken * MINUTE_MS / 1e3
    check_expected(expected)

    folded: list[Counts] = []  # by instance; no more than there are functions, however many instances are asked for
    for function, counts in enumerate(_read_functions(path, lines, columns)):
        if function < instance_count:
            folded.append(counts[first : first + taken].copy())
        else:
            folded[function % instance_count] += counts[first : first + taken]
    total = sum(int(counts.sum()) for counts in folded)
    if total == 0:
        raise InvalidInputError(
            f"{os.fspath(path)} has no invocations in {taken} minutes from first_minute={first}; take others"
        )
    drawn = [_draw_times_ms(random, counts * (expected / total)) for counts in folded]
    times_ms = np.concatenate(drawn)
    instances = np.repeat(np.arange(len(drawn), dtype=np.int32), [len(times) for times in drawn])
    order = np.argsort(times_ms, kind="stable")
    return Arrivals(times_ms[order], instances[order], instance_count, float(taken * MINUTE_MS))


def _draw_times_ms(random: np.random.Generator, expected: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Times of one instance's arrivals, minute by minute, with so many to be expected in each."""
    whole = np.floor(expected)
    counts = (whole + (random.random(len(expected)) < expected - whole)).astype(np.int64)
    minute = np.repeat(np.arange(len(counts)), counts)
    return (minute + random.random(len(minute))) * MINUTE_MS


def _read_header(path: str | os.PathLike[str], lines: Iterator[tuple[int, bytes]]) -> int:
    """How many minutes the file has."""
    _, header = next(lines, (1, b""))
    fields = header.split(b",")
    minutes = fields[4:]
    if fields[:4] != _NAMES or not minutes or not all(map(_is_count, minutes)):
        layout = b",".join(_NAMES).decode() + ",1,2,..."
        raise bad_line(path, 1, f"is {shown(header)}; a trace of Azure Functions begins with {layout}")
    first = int(minutes[0])
    for expected, minute in enumerate(minutes, first):
        if int(minute) != expected:
            raise bad_line(path, 1, f"has minute {int(minute)} where {expected} is due; restore the missing columns")
    return len(minutes)


def _read_functions(path: str | os.PathLike[str], lines: Iterator[tuple[int, bytes]], columns: int) -> Iterator[Counts]:
    """Each function's invocations by minute."""
    for number, line in lines:
        found = line.count(b",") + 1
        if found != len(_NAMES) + columns:
            raise bad_line(path, number, f"has {found} columns, the header {len(_NAMES) + columns}; mend or remove it")
        text = line.split(b",", len(_NAMES))[-1]
        counts = _parse(text)
        if counts is None:
            field, column = next((f, c) for c, f in enumerate(text.split(b","), 1) if not _is_count(f))
            limits = f"a whole number from 0, of at most {_MAX_DIGITS} digits"
            raise bad_line(path, number, f"has {shown(field)} as its count {column}; it must be {limits}")
        yield counts


def _parse(text: bytes) -> Counts | None:
    """Comma-separated counts, or none if any is not one.

    NumPy's parser is fast and lax (signs, blanks, what follows the last number): it is given digits and commas only.
    """
    if text.translate(None, b"0123456789,") or b",," in b",%b," % text:
        return None
    counts = np.fromstring(text, np.int64, sep=",")
    return counts if counts.max() < 10**_MAX_DIGITS else None


def _is_count(field: bytes) -> bool:
    return field.isdigit() and len(field) <= _MAX_DIGITS
