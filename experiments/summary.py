"""What the rows of Figure 10 say of the bars that the project set itself."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from methods import method_of

Row = Mapping[str, Any]

_CLEARLY_APART = 0.05  # predictions that differ by less promise no order


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Faithfulness over all rows, and the latencies that have a bar; None where a row is missing.

    `misordered` lists the pairs of methods whose predictions are clearly apart and whose measurements are in the
    other order; `ordered_pairs` is how many pairs were compared.
    """
    errors = [abs(row["predicted_ms"] - row["median_ms"]) / row["median_ms"] for row in rows]
    pairs = [
        (one, other)
        for one, other in itertools.combinations(rows, 2)
        if one["model"] == other["model"] and _apart(one["predicted_ms"], other["predicted_ms"])
    ]
    wrong = [(a, b) for a, b in pairs if (a["predicted_ms"] < b["predicted_ms"]) != (a["median_ms"] < b["median_ms"])]
    large = _find(rows, "bert_large", "PT+DHA")
    return {
        "median_prediction_error": statistics.median(errors) if errors else None,
        "max_prediction_error": max(errors, default=None),
        "ordered_pairs": len(pairs),
        "misordered": [f"{a['model']}: {method_of(a).title} and {method_of(b).title}" for a, b in wrong],
        "bert_base_dha_ms": _median_ms(rows, "bert_base", "DHA"),
        "gpt2_medium_dha_ms": _median_ms(rows, "gpt2_medium", "DHA"),
        "bert_large_pt_dha_over_warm": None if large is None else large["median_ms"] / large["warm_ms"],
    }


def _apart(one_ms: float, other_ms: float) -> bool:
    return abs(one_ms - other_ms) > _CLEARLY_APART * min(one_ms, other_ms)


def _find(rows: Sequence[Row], model: str, title: str) -> Row | None:
    return next((row for row in rows if row["model"] == model and method_of(row).title == title), None)


def _median_ms(rows: Sequence[Row], model: str, title: str) -> float | None:
    row = _find(rows, model, title)
    return None if row is None else row["median_ms"]
