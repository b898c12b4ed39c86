"""Figure 10 as a picture: speed-ups over on-demand as the paper draws them, and the same cold starts in ms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bar_label import label_bar
from methods import METHODS, method_of

Row = Mapping[str, Any]

FLOOR = "#c02f45"
BAR = 0.16  # of the distance between two models


def draw(rows: Sequence[Row], provenance: Mapping[str, Any], path: Path) -> None:
    """Draws both panels of `rows` and saves them at `path`."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(13, 8.2), dpi=160, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    on_demand_ms = {row["model"]: row["median_ms"] for row in rows if method_of(row) == METHODS[0]}
    for row in rows:
        index = METHODS.index(method_of(row))
        x = models.index(row["model"]) + (index - (len(METHODS) - 1) / 2) * BAR
        median_ms, min_ms, max_ms = row["median_ms"], row["min_ms"], row["max_ms"]
        base_ms = on_demand_ms[row["model"]]
        _bar(above, x, base_ms / median_ms, base_ms / max_ms, base_ms / min_ms, METHODS[index].colour, "{:.1f}x")
        _bar(below, x, median_ms, min_ms, max_ms, METHODS[index].colour, "{:.1f}")
        below.hlines(row["floor_ms"], x - BAR / 2, x + BAR / 2, color=FLOOR, linewidth=2.0, zorder=4)
    above.axhline(1.0, color="#333a45", linewidth=0.8, linestyle=(0, (4, 3)))
    above.set_ylabel("speed-up over on-demand")
    below.set_ylabel("cold start, ms (log)")
    below.set_yscale("log")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    below.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    below.set_xticks(range(len(models)), models)
    below.set_xlim(-0.55, len(models) - 0.45)
    for axes in (above, below):
        _plain(axes)
    figure.suptitle(_title(rows, provenance), fontsize=11, x=0.01, ha="left")
    used = {method_of(row) for row in rows}
    handles: list[Any] = [Patch(color=method.colour, label=method.title) for method in METHODS if method in used]
    handles.append(Line2D([], [], color=FLOOR, linewidth=2.0, label="floor: warm run, or the bytes that must cross"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _bar(axes: Axes, x: float, value: float, low: float, high: float, colour: str, label: str) -> None:
    axes.bar(x, value, BAR * 0.92, color=colour, zorder=2)
    spread = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar(x, value, yerr=spread, color="#333a45", linewidth=0.9, capsize=2.0, zorder=3)
    label_bar(axes, x, max(value, high), label.format(value))


def _plain(axes: Axes) -> None:
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.margins(y=0.14)
    axes.tick_params(axis="x", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _title(rows: Sequence[Row], provenance: Mapping[str, Any]) -> str:
    links = max((len(row["devices"]) for row in rows), default=1)
    first = rows[0] if rows else {"dtype": "", "batch": 1, "repeats": 0}
    return (
        f"Cold starts on {provenance['machine']}, {first['dtype']}, batch {first['batch']}; PT over {links} links; "
        f"medians of {first['repeats']}, whiskers from fastest to slowest (torch {provenance['torch']})"
    )
