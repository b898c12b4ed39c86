"""What the rows of a serving figure amount to: goodput, the highest rate that is held, and simulated beside real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

HELD = 0.99  # goodput of a rate that counts as held


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Of measured and of simulated rows, by themselves; nothing of what there is not."""
    summary: dict[str, Any] = {}
    for kind, simulated in (("measured", False), ("simulated", True)):
        of = [row for row in rows if row["simulated"] == simulated]
        if of:
            summary[kind] = {
                "most_instances": [_brief(row) for row in _last_of_each(of, "instances")],
                "held_rate_per_s": _held(of),
                "half_load_over_resident": _half_load(of),
            }
    if "measured" in summary:
        summary["simulated_beside_measured"] = _beside([row for row in rows if not row["simulated"]])
    return summary


def _last_of_each(rows: Sequence[Row], sweep: str) -> list[Row]:
    last = {(row["model"], row["dtype"], row["title"]): row for row in rows if row["sweep"] == sweep}
    return list(last.values())


def _held(rows: Sequence[Row]) -> dict[str, float]:
    """By method and dtype the highest rate at which goodput is held, whatever became of lower ones; 0 for none."""
    held: dict[str, float] = {}
    for row in rows:
        if row["sweep"] == "rate":
            name = f"{row['model']} {row['dtype']} {row['title']}" + (" coded" if row["coded"] else "")
            held[name] = max(held.get(name, 0.0), row["rate_per_s"] if row["goodput"] >= HELD else 0.0)
    return held


def _half_load(rows: Sequence[Row]) -> dict[str, float]:
    """By method: p99 of all instances over that of a few resident ones, at the same rate."""
    resident = {(row["dtype"], row["title"], row["rate_per_s"]): row for row in rows if row["sweep"] == "resident"}
    ratios = {}
    for row in rows:
        few = resident.get((row["dtype"], row["title"], row["rate_per_s"]))
        if row["sweep"] == "half" and few is not None:
            ratios[f"{row['dtype']} {row['title']}, {row['rate_per_s']:g}/s"] = row["p99_ms"] / few["p99_ms"]
    return ratios


def _beside(measured: Sequence[Row]) -> dict[str, Any]:
    """How far predictions from measured costs lie from what was measured; of p99 the share, else points."""
    held = [row for row in measured if row["goodput"] >= HELD]

    def worst(field: str, of: Sequence[Row], relative: bool) -> dict[str, Any]:
        def off(row: Row) -> float:
            difference: float = row["predicted"][field] - row[field]
            return difference / row[field] if relative else 100 * difference

        row = max(of, key=lambda row: abs(off(row)), default=None)
        return {} if row is None else {"off": off(row), "row": _brief(row)}

    return {
        "p99_where_held": worst("p99_ms", held, relative=True),
        "goodput_points": worst("goodput", measured, relative=False),
        "cold_rate_points": worst("cold_rate", measured, relative=False),
    }


def _brief(row: Row) -> str:
    return (
        "{model} {dtype} {title}, {sweep}, {instances} instances at {rate_per_s:g}/s: p99 {p99_ms:.2f} ms, "
        "goodput {goodput:.4f}, cold {cold_rate:.3f}".format(**row)
    )
