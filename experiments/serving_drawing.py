"""Served workloads: latency, goodput and cold starts against what was swept, a row of panels for each sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from methods import BY_TITLE, METHODS

Row = Mapping[str, Any]

SWEEPS = {"instances": ("instances", "instances"), "rate": ("rate_per_s", "requests/s")}
PANELS = (("p99_ms", "99th percentile, ms"), ("goodput", "goodput, %"), ("cold_rate", "cold starts, % of requests"))


def draw_sweeps(rows: Sequence[Row], provenance: Mapping[str, Any], path: Path) -> None:
    """Draws a row of panels for each sweep, model and dtype of `rows`, and saves them at `path`: what was measured as
    solid lines, what was simulated as dotted ones."""
    rows = [row for row in rows if row["sweep"] in SWEEPS]
    sweeps = list(dict.fromkeys((row["sweep"], row["model"], row["dtype"]) for row in rows))
    figure = Figure(figsize=(12, 1.0 + 2.9 * max(1, len(sweeps))), dpi=160, layout="constrained")
    grid = figure.subplots(max(1, len(sweeps)), len(PANELS), squeeze=False)
    for panels, sweep in zip(grid, sweeps):
        shown = [row for row in rows if (row["sweep"], row["model"], row["dtype"]) == sweep]
        for axes, (field, label) in zip(panels, PANELS):
            _panel(axes, shown, SWEEPS[sweep[0]], field, label)
        panels[0].set_title(_setting(shown), fontsize=9, loc="left")
    handles = [
        Line2D([], [], color=method.colour, marker=method.marker, ms=4, label=method.title)
        for method in METHODS
        if any(row["title"] == method.title for row in rows)
    ]
    handles += [
        Line2D([], [], color="#444", linestyle=":" if simulated else "-", label=how_served(rows, simulated))
        for simulated in (False, True)
        if any(row["simulated"] == simulated for row in rows)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.suptitle("Models served from host memory", fontsize=11, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def how_served(rows: Sequence[Row], simulated: bool) -> str:
    """What the legend says of measured or of simulated rows."""
    machines = ", ".join(dict.fromkeys(row["machine"] for row in rows if row["simulated"] == simulated))
    return f"simulated from the profiles of {machines}" if simulated else f"measured on {machines}"


def _panel(axes: Axes, rows: Sequence[Row], swept: tuple[str, str], field: str, label: str) -> None:
    place, x_label = swept
    for title, simulated in dict.fromkeys((row["title"], row["simulated"]) for row in rows):
        mine = [row for row in rows if (row["title"], row["simulated"]) == (title, simulated)]
        share = 1.0 if field == "p99_ms" else 100.0
        axes.plot(
            [row[place] for row in mine],
            [share * row[field] for row in mine],
            color=BY_TITLE[title].colour,
            marker=BY_TITLE[title].marker,
            ms=2.5 if simulated else 4,
            linestyle=":" if simulated else "-",
        )
    if field == "p99_ms":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        objective_ms = rows[0]["objective_ms"]
        axes.axhline(objective_ms, color="#c02f45", linewidth=1, linestyle="--")
        axes.set_ylim(top=min(axes.get_ylim()[1], 20 * objective_ms))  # beyond, it only says how long was offered
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
    coded = ", deepplan's coded" if any(row["coded"] for row in rows) else ""
    return (
        f"{row['model']} {row['dtype']}{coded}; {row['gpu_memory_bytes'] / 2**30:g} GiB a GPU, {fixed}, "
        f"objective {row['objective_ms']:g} ms"
    )
