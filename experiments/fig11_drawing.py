"""Figure 11 as a picture: for each model, cold latency and throughput against the batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from methods import BY_TITLE, METHODS

Row = Mapping[str, Any]


def draw(rows: Sequence[Row], provenance: Mapping[str, Any], path: Path) -> None:
    """Draws both panels of each model of `rows`, and saves them at `path`."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(11, 1.2 + 3.4 * max(1, len(models))), dpi=160, layout="constrained")
    grid = figure.subplots(max(1, len(models)), 2, squeeze=False)
    for (latency, throughput), model in zip(grid, models):
        shown = [row for row in rows if row["model"] == model]
        _lines(latency, shown, "cold_ms")
        _lines(latency, shown, "predicted_ms")
        _lines(throughput, shown, "throughput_per_s")
        latency.set_title(f"{model} {shown[0]['dtype']}", fontsize=10, loc="left")
        latency.set_ylabel("cold start, ms (log)")
        throughput.set_ylabel("back-to-back cold starts, requests/s")
        _log_scale(latency)
        throughput.set_ylim(bottom=0)
    used = [method for method in METHODS if any(row["title"] == method.title for row in rows)]
    handles = [Line2D([], [], color=each.colour, marker=each.marker, ms=5, label=each.title) for each in used]
    handles.append(Line2D([], [], color="#444", linestyle=":", label="predicted"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(_title(rows, provenance), fontsize=11, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _lines(axes: Axes, rows: Sequence[Row], field: str) -> None:
    """One line a method; dotted and without markers where it is a prediction."""
    predicted = field == "predicted_ms"
    for title in dict.fromkeys(row["title"] for row in rows):
        mine = sorted((row for row in rows if row["title"] == title), key=lambda row: row["batch"])
        axes.plot(
            [row["batch"] for row in mine],
            [row[field] for row in mine],
            color=BY_TITLE[title].colour,
            marker="" if predicted else BY_TITLE[title].marker,
            ms=5,
            linestyle=":" if predicted else "-",
        )
    batches = sorted({row["batch"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xlabel("batch size")
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _title(rows: Sequence[Row], provenance: Mapping[str, Any]) -> str:
    links = max((len(row["devices"]) for row in rows), default=1)
    repeats = max((row["repeats"] for row in rows), default=0)
    return (
        f"Cold starts by batch size on {provenance['machine']}; PT over {links} links; medians of {repeats} "
        f"(torch {provenance['torch']})"
    )
