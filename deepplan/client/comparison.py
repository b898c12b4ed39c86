"""How far two reports of the same workload differ, such as a measured and a simulated one."""

from __future__ import annotations

from dataclasses import dataclass

from deepplan.client.report import Report
from deepplan.errors import InvalidInputError


@dataclass(frozen=True)
class Comparison:
    """The second report against the first; None where one of them does not have the number.

    All are 0 where they agree: `p99_percent` by how much the second p99 is larger, of the first; the others differences
    in percentage points.
    """

    p99_percent: float | None
    goodput_points: float | None
    cold_rate_points: float | None


def compare(first: Report, second: Report) -> Comparison:
    """Raises InvalidInputError where they have different objectives, so that their goodput means different things."""
    if first.objective_ms != second.objective_ms:
        raise InvalidInputError(
            f"the reports have objectives of {first.objective_ms} and {second.objective_ms} ms; make them with the same"
        )
    a, b = first.total, second.total
    return Comparison(
        p99_percent=None if a.p99_ms is None or b.p99_ms is None or a.p99_ms == 0 else 100 * (b.p99_ms / a.p99_ms - 1),
        goodput_points=_points(a.goodput, b.goodput),
        cold_rate_points=_points(a.cold_rate, b.cold_rate),
    )


def _points(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else 100 * (second - first)
