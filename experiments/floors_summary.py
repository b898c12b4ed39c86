"""What the rows of floors.json say of the bars that the project set itself."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from origins import ORIGIN, Origin, origin_of

Row = Mapping[str, Any]

# A cold start takes at most so many times the floor, and so much in ms: over one link, and its 99th percentile; over
# several where the links are the floor (4: or more), and where the resident model is.
COLD_BAR = (1.06, 0.05)
P99_BAR = (1.15, 0.1)
LINKS_BARS = {2: (1.15, 0.05), 4: (1.20, 0.05)}
RESIDENT_BAR = (1.10, 0.05)
SLOWER_THAN_PIPELINE = 1.01


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """How many rows are of which run, and one entry for each bar; None where there is no row to tell.

    An entry of a bar has its worst row (`row`, by how far in ms it is above the bar: below 0, every row keeps it) and
    all rows that miss it. Ratios are of one number to another of the same run.
    """
    planned = [row for row in rows if row["method"] == "deepplan"]
    one_link = [row for row in planned if row["links"] == 1]
    errors = [abs(row["predicted_ms"] - row["cold_ms"]) / row["cold_ms"] for row in rows]
    runs = Counter(map(origin_of, rows))
    return {
        "runs": [{**dict(zip(ORIGIN, run)), "rows": count} for run, count in runs.items()],
        "cold_above_bar": _above_bar(one_link, "cold_ms", lambda row: COLD_BAR),
        "p99_above_bar": _above_bar(one_link, "cold_p99_ms", lambda row: P99_BAR),
        "several_links_above_bar": _above_bar([row for row in planned if row["links"] > 1], "cold_ms", _bar_of_links),
        "worst_over_together": _worst((_over_together(row), row) for row in planned),
        "worst_ratio_by_links": {
            str(links): _worst((row["ratio"], row) for row in planned if row["links"] == links)
            for links in sorted({row["links"] for row in planned})
        },
        "median_prediction_error": statistics.median(errors) if errors else None,
        "worst_warm_over_replay": _worst((_warm_over_replay(row), row) for row in rows),
        "worst_warm_over_replay_all_loaded": _worst(
            (_warm_over_replay(row), row) for row in rows if row["method"] == "demand"
        ),
        "deepplan_over_pipeline": _over_pipeline(rows),
        "times_faster_than_pipeline_over_one_link": _times_faster(rows),
        "coded_over_plain": _coded_over_plain(rows),
        "worst_coded_ratio": _worst((row["ratio"], row) for row in rows if row["coded"]),
        "not_replayed": sorted({f"{row['model']} {row['dtype']}" for row in rows if not row["replayed"]}),
        "launched_by_operators": [title(row) for row in rows if row["launch"] != "graph"],
    }


def title(row: Row) -> str:
    """ "bert_base bf16 deepplan, 2 links of h200x4"."""
    coded = " coded" if row["coded"] else ""
    links = f"{row['links']} link{'s'[: row['links'] > 1]}"
    return f"{row['model']} {row['dtype']} {row['method']}{coded}, {links} of {row['machine']}"


def _above_bar(rows: Sequence[Row], field: str, bar_of: Callable[[Row], tuple[float, float]]) -> dict[str, Any] | None:
    above = [(row[field] - (bar_of(row)[0] * row["floor_ms"] + bar_of(row)[1]), row) for row in rows]
    worst = _worst(above)
    missed = [title(row) for above_ms, row in above if above_ms > 0]
    return None if worst is None else {"worst_ms": worst["value"], "row": worst["row"], "missed": missed}


def _bar_of_links(row: Row) -> tuple[float, float]:
    is_resident = row["graph_replay_ms"] >= row["floor_ms"]
    return RESIDENT_BAR if is_resident else LINKS_BARS[2 if row["links"] < 4 else 4]


def _over_together(row: Row) -> float:
    """A cold start over the floor that what the links carry together would leave."""
    return row["cold_ms"] / max(row["graph_replay_ms"], row["crossing_bytes"] / (row["together_gbps"] * 1e6))


def _over_pipeline(rows: Sequence[Row]) -> dict[str, Any] | None:
    """deepplan's cold starts over PipeSwitch's of the same model, dtype and links."""
    pipeline = {_setting(row): row["cold_ms"] for row in rows if row["method"] == "pipeline"}
    ratios = [
        (row["cold_ms"] / pipeline[_setting(row)], row)
        for row in rows
        if row["method"] == "deepplan" and _setting(row) in pipeline
    ]
    worst = _worst(ratios)
    slower = [title(row) for ratio, row in ratios if ratio > SLOWER_THAN_PIPELINE]
    return None if worst is None else {"worst_ratio": worst["value"], "row": worst["row"], "slower": slower}


def _times_faster(rows: Sequence[Row]) -> dict[str, float]:
    """PipeSwitch's cold starts over one link over deepplan's over four or more: what all links and plans gain."""
    pipeline = {_setting(row): row["cold_ms"] for row in rows if row["method"] == "pipeline"}
    return {
        title(row): pipeline[_setting(row, links=1)] / row["cold_ms"]
        for row in rows
        if row["method"] == "deepplan" and row["links"] >= 4 and _setting(row, links=1) in pipeline
    }


def _coded_over_plain(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Cold starts with coded weights over those without, of the same model, dtype, links and method."""
    plain = {(_setting(row), row["method"]): row["cold_ms"] for row in rows if not row["coded"]}
    coded = [row for row in rows if row["coded"] and (_setting(row), row["method"]) in plain]
    ratios = [(row["cold_ms"] / plain[_setting(row), row["method"]], row) for row in coded]
    worst = _worst(ratios)
    return None if worst is None else {"worst_ratio": worst["value"], "row": worst["row"]}


def _setting(row: Row, links: int | None = None) -> tuple[Origin, str, str, int]:
    """What rows have in common whose latencies may be divided; over `links` links instead of the row's own."""
    return origin_of(row), row["model"], row["dtype"], links or row["links"]


def _warm_over_replay(row: Row) -> float:
    return row["warm_ms"] / row["graph_replay_ms"]


def _worst(values: Iterable[tuple[float, Row]]) -> dict[str, Any] | None:
    """The largest value and the row it is of."""
    found = max(values, key=lambda pair: pair[0], default=None)
    return None if found is None else {"value": found[0], "row": title(found[1])}
