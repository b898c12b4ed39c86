"""Figure 5 as a picture: two rows of bars for each layer, loading and executing against reading in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

LOADED, IN_PLACE, BUSY, EXECUTE = "#5b9fd4", "#f0902b", "#f7c897", "#1f4e8c"
BAR = 0.27


def draw(rows: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any], path: Path) -> None:
    """Draws `rows` and saves the picture at `path`."""
    figure = Figure(figsize=(10, 1.6 + 0.52 * len(rows)), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows))
    series = (
        ("load, then execute", LOADED, [row["load_ms"] + row["execute_ms"] for row in rows]),
        ("read in place, link idle", IN_PLACE, [row["in_place_ms"] for row in rows]),
        ("read in place while copies fill the link", BUSY, [row["in_place_busy_link_ms"] for row in rows]),
    )
    for index, (label, colour, values_ms) in enumerate(series):
        heights = [place + (index - 1) * BAR for place in places]
        values_us = [1e3 * value for value in values_ms]
        bars = axes.barh(heights, values_us, BAR * 0.92, color=colour, label=label, zorder=2)
        labels = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values_us]
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
        axes.bar_label(bars, labels, padding=4, fontsize=7, bbox=behind, zorder=4)
    for place, row in zip(places, rows):
        low, high = place - 1.5 * BAR, place + 1.5 * BAR
        label = "executing from device memory" if place == 0 else None
        axes.vlines(1e3 * row["execute_ms"], low, high, color=EXECUTE, linewidth=2.0, zorder=3, label=label)
    axes.set_yticks(places, [f"{row['layer']}, {row['dtype']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.margins(x=0.1, y=0.02)
    axes.set_xlabel("microseconds (log)")
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.8, zorder=0)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.suptitle(
        f"What direct-host-access costs by kind of layer, {provenance['machine']} (torch {provenance['torch']})",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
