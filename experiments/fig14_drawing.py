"""A trace served minute by minute: what came, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from methods import BY_TITLE
from serving_drawing import how_served

Row = Mapping[str, Any]

WIDTHS = {"PipeSwitch": 3.2, "DHA": 2.0, "PT+DHA": 0.8}  # methods may be equal: the later is drawn inside the earlier
PANELS = (
    ("offered_per_s", "offered, requests/s", 1.0),
    ("p99_ms", "99th percentile, ms", 1.0),
    ("goodput", "goodput, %", 100.0),
    ("cold_rate", "cold starts, %", 100.0),
)


def draw_minutes(rows: Sequence[Row], provenance: Mapping[str, Any], path: Path) -> None:
    """Draws the four panels over the minutes of the trace, and saves them at `path`."""
    figure = Figure(figsize=(11, 8), dpi=160, layout="constrained")
    lines = list(dict.fromkeys((row["title"], row["simulated"]) for row in rows))
    for axes, (field, label, share) in zip(figure.subplots(len(PANELS), 1, sharex=True), PANELS):
        for title, simulated in lines[:1] if field == "offered_per_s" else lines:
            mine = [row for row in rows if (row["title"], row["simulated"]) == (title, simulated)]
            values = [math.nan if row[field] is None else share * row[field] for row in mine]
            axes.plot(
                [row["minute"] for row in mine],
                values,
                color="#6b7280" if field == "offered_per_s" else BY_TITLE[title].colour,
                linewidth=1.2 if field == "offered_per_s" else WIDTHS[title],
                linestyle=_style(rows, simulated),
                marker="" if simulated else BY_TITLE[title].marker,  # what was measured may be a minute
                ms=4,
            )
        axes.set_ylabel(label, fontsize=9)
        axes.grid(color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_ylim(bottom=0, top=103 if field == "goodput" else None)
    axes.set_xlabel("minute", fontsize=9)
    titles = dict.fromkeys(title for title, _ in lines)
    handles = [Line2D([], [], color=BY_TITLE[title].colour, linewidth=WIDTHS[title], label=title) for title in titles]
    handles += [
        Line2D([], [], color="#444", linestyle=_style(rows, simulated), label=how_served(rows, simulated))
        for simulated in sorted({simulated for _, simulated in lines})
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.suptitle(
        "The Azure Functions trace: 252 instances of three models, four GPUs with 10.5 GiB each",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _style(rows: Sequence[Row], simulated: bool) -> Literal[":", "-"]:
    """Dotted beside what was measured, as in the other figures; alone, three hours are read better as solid lines."""
    return ":" if simulated and not all(row["simulated"] for row in rows) else "-"
