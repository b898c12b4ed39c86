from __future__ import annotations

import pytest

from deepplan.cli.quantities import duration_ms, size_bytes
from deepplan.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("100ms", 100.0),
        ("90s", 90_000.0),
        ("3h", 10_800_000.0),
        ("1.5 s", 1500.0),
        ("250us", 0.25),
        ("15min", 900_000.0),
        ("15m", 900_000.0),
        ("366d", 366 * 86_400_000.0),
    ],
)
def test_durations(text: str, expected_ms: float) -> None:
    assert duration_ms("--slo", text) == pytest.approx(expected_ms, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.5GiB", 21 * 2**29),
        ("512MiB", 2**29),
        ("1B", 1),
        ("1.5KB", 1500),
        ("2TB", 2 * 10**12),
        ("8192TiB", 2**53),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size_bytes("--gpu-memory", text) == expected


@pytest.mark.parametrize(
    "text", ["", "100", "ms", "-1ms", "1e3s", "nan s", "0s", "0.0001us", "367d", "1h30m", "1S", "9" * 400 + "s"]
)
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--slo .*: it is a duration"):
        duration_ms("--slo", text)


@pytest.mark.parametrize("text", ["", "10", "10gib", "-1GiB", "0B", "0.2B", "8193TiB", "1GiBs", "1ms"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--gpu-memory .*: it is a size"):
        size_bytes("--gpu-memory", text)


def test_a_message_stays_short() -> None:
    with pytest.raises(InvalidInputError) as refused:
        duration_ms("--slo", "x" * 10_000)
    assert len(str(refused.value)) < 200
