from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

MIB = 1 << 20
MEMORY = {
    **{"cold_starts": 0, "free_bytes": [900 * MIB, 500 * MIB], "reserved_bytes": 60 * MIB, "charged_bytes": 2 * MIB},
    **{"allocations": 3, "pinned_bytes": 128 * MIB, "process_bytes": 1000 * MIB},
}


@pytest.fixture
def soaked() -> Any:
    """Twenty cold starts of each of two captured models: 1 to 20 and 2 to 40 ms; memory as before."""
    from soak_summary import ColdStart, Soaked

    starts = [
        ColdStart(name, factor * float(i + 1), i % 2 == 0, "graph", right=True, same_bits=i > 0)
        for i in range(20)
        for factor, name in ((1, "one"), (2, "two"))
    ]
    return Soaked(starts, [MEMORY, MEMORY, MEMORY], frozenset({"one", "two"}), 100 * MIB, 60 * MIB, 1.0)


def failing(soaked: Any, most_drift: float = 100.0) -> set[str]:
    from soak_summary import checks

    return {name for name, holds in checks(soaked, most_drift).items() if not holds}


def with_last(soaked: Any, **changed: Any) -> Any:
    return replace(soaked, memory=[*soaked.memory[:-1], {**MEMORY, **changed}])


def test_rows_are_told_apart_by_model(soaked: Any) -> None:
    from soak_summary import rows

    one, two = rows(soaked)
    assert (one["model"], one["cold_starts"], one["driven_out"], one["by_operators"]) == ("one", 20, 10, 0)
    assert (one["median_ms"], one["p99_ms"], one["min_ms"], one["max_ms"]) == (10.5, 20, 1, 20)
    assert (one["first_ms"], one["last_ms"], one["drift"]) == (1.5, 19.5, 12)  # two of twenty are a tenth
    assert (one["wrong"], one["other_bits"]) == (0, 1)
    assert (two["model"], two["median_ms"]) == ("two", 21)


def test_nothing_fails_where_nothing_grows(soaked: Any) -> None:
    assert failing(soaked) == set()
    assert failing(soaked, most_drift=11.9) == {"no_drift"}


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"free_bytes": [900 * MIB, 460 * MIB]}, "device_memory_flat"),
        ({"process_bytes": 1040 * MIB}, "host_memory_flat"),
        ({"pinned_bytes": 130 * MIB}, "pinned_memory_same"),
        ({"allocations": 4}, "no_new_segments"),
        ({"charged_bytes": 3 * MIB}, "no_new_segments"),
    ],
)
def test_what_grew_is_named(soaked: Any, changed: dict[str, Any], check: str) -> None:
    assert failing(with_last(soaked, **changed)) == {check}


def test_the_budget_holds_at_every_sample(soaked: Any) -> None:
    over = {**MEMORY, "reserved_bytes": 61 * MIB}
    assert failing(replace(soaked, memory=[MEMORY, over, MEMORY])) == {"within_budget"}


def test_allocators_may_take_a_piece(soaked: Any) -> None:
    assert failing(with_last(soaked, free_bytes=[880 * MIB, 480 * MIB], process_bytes=1020 * MIB)) == set()


def test_answers_and_launches_are_checked(soaked: Any) -> None:
    starts = [replace(soaked.starts[0], right=False, launch="operators"), *soaked.starts[1:]]
    assert failing(replace(soaked, starts=starts)) == {"all_answers_right", "launched_as_captured"}


def test_a_model_that_cannot_be_captured_is_launched_by_operators(soaked: Any) -> None:
    from soak_summary import checks

    starts = [replace(start, launch="operators") if start.model == "two" else start for start in soaked.starts]
    mixed = replace(with_last(soaked, allocations=9), starts=starts, captured=frozenset({"one"}))
    assert failing(mixed) == set()
    assert "no_new_segments" not in checks(mixed, 100.0)
