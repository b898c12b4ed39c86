"""A trace served minute by minute: what came, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from serving_drawing import COLOURS

Row = Mapping[str, Any]

PANELS = (
    ("offered_per_s", "offered, requests/s", 1.0),
    ("p99_ms", "99th percentile, ms", 1.0),
    ("goodput", "goodput, %", 100.0),
    ("cold_rate", "cold starts, %", 100.0),
)


def draw_minutes(rows: Sequence[Row], provenance: Mapping[str, Any], path: Path) -> None:
    """Draws the four panels over the minutes of the trace, and saves them at `path`."""
    figure = Figure(figsize=(11, 8), dpi=160, layout="constrained")
    titles = list(dict.fromkeys(row["title"] for row in rows))
    for axes, (field, label, share) in zip(figure.subplots(len(PANELS), 1, sharex=True), PANELS):
        for title in titles[:1] if field == "offered_per_s" else titles:
            mine = [row for row in rows if row["title"] == title]
            colour = "#6b7280" if field == "offered_per_s" else COLOURS[title]
            values = [math.nan if row[field] is None else share * row[field] for row in mine]
            axes.plot([row["minute"] for row in mine], values, color=colour, linewidth=1.2)
        axes.set_ylabel(label, fontsize=9)
        axes.grid(color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_ylim(bottom=0, top=103 if field == "goodput" else None)
    axes.set_xlabel("minute", fontsize=9)
    handles = [figure.axes[1].lines[index] for index in range(len(titles))]
    figure.legend(handles, titles, loc="outside lower center", ncols=len(titles), frameon=False, fontsize=9)
    figure.suptitle(
        f"The Azure Functions trace, simulated from the profiles of {provenance['machine']}: "
        "252 instances of three models, four GPUs with 10.5 GiB each",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
