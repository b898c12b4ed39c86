"""Served workloads: latency, goodput and cold starts against what was swept, a row of panels for each sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

Row = Mapping[str, Any]

COLOURS = {"PipeSwitch": "#5b9fd4", "DHA": "#f0902b", "PT+DHA": "#b85c0a"}
MARKERS = {"PipeSwitch": "s", "DHA": "o", "PT+DHA": "^"}
SWEEPS = {"instances": ("instances", "instances"), "rate": ("rate_per_s", "requests/s")}
PANELS = (("p99_ms", "99th percentile, ms"), ("goodput", "goodput, %"), ("cold_rate", "cold starts, % of requests"))


def draw_sweeps(rows: Sequence[Row], provenance: Mapping[str, Any], path: Path) -> None:
    """Draws a row of panels for each sweep and model of `rows`, and saves them at `path`."""
    sweeps = list(dict.fromkeys((row["sweep"], row["model"]) for row in rows))
    figure = Figure(figsize=(12, 0.8 + 2.9 * max(1, len(sweeps))), dpi=160, layout="constrained")
    grid = figure.subplots(max(1, len(sweeps)), len(PANELS), squeeze=False)
    for panels, (sweep, model) in zip(grid, sweeps):
        shown = [row for row in rows if (row["sweep"], row["model"]) == (sweep, model)]
        for axes, (field, label) in zip(panels, PANELS):
            _panel(axes, shown, SWEEPS[sweep], field, label)
        panels[0].set_title(f"{model}, {_setting(shown)}", fontsize=9, loc="left")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels) or 1, frameon=False, fontsize=9)
    how = "simulated from the profiles of" if provenance.get("simulated") else "measured on"
    figure.suptitle(
        f"Models served from host memory on four GPUs, {how} {provenance['machine']}", fontsize=11, x=0.01, ha="left"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _panel(axes: Axes, rows: Sequence[Row], swept: tuple[str, str], field: str, label: str) -> None:
    place, x_label = swept
    for title in dict.fromkeys(row["title"] for row in rows):
        mine = [row for row in rows if row["title"] == title]
        share = 1.0 if field == "p99_ms" else 100.0
        values = [share * row[field] for row in mine]
        axes.plot([row[place] for row in mine], values, color=COLOURS[title], marker=MARKERS[title], ms=4, label=title)
    if field == "p99_ms":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.axhline(rows[0]["objective_ms"], color="#c02f45", linewidth=1, linestyle="--")
    else:
        axes.set_ylim(-3, 103)
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(label, fontsize=9)
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _setting(rows: Sequence[Row]) -> str:
    row = rows[0]
    fixed = f"{row['rate_per_s']:g} requests/s" if row["sweep"] == "instances" else f"{row['instances']} instances"
    return f"{row['gpu_memory_bytes'] / 2**30:g} GiB a GPU, {fixed}, objective {row['objective_ms']:g} ms"
