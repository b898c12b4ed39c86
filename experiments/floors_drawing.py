"""Cold starts as multiples of the hardware's floor: one panel a dtype, one cluster of bars a model.

Each ratio is within one run. Where bars are of several machines or commits, a letter at each says of which.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bar_label import label_bar
from origins import Origin, origin_of

Row = Mapping[str, Any]
Series = tuple[str, bool, int]  # method, coded, links

DTYPES = ("fp32", "tf32", "bf16")  # from above
TITLES = {"demand": "on-demand", "pipeline": "PipeSwitch", "deepplan": "deepplan"}
# One hue a method, darker with more links.
COLOURS = {
    "demand": ("#b9c0ca",),
    "pipeline": ("#a9cdea", "#5b9fd4", "#1f4e8c", "#0f2a50"),
    "deepplan": ("#f9c48d", "#f0902b", "#b85c0a", "#6e3503"),
}
CODED_HATCH = "////"
FLOOR = "#c02f45"
CLUSTER = 0.86  # of the distance between two models


def draw(rows: Sequence[Row], provenance: Mapping[str, Any], path: Path) -> None:
    """Draws a panel for each dtype of `rows` and saves them at `path`."""
    sizes = {row["model"]: row["crossing_bytes"] for row in sorted(rows, key=lambda row: row["crossing_bytes"])}
    models = sorted(sizes, key=lambda model: sizes[model])
    dtypes = sorted({row["dtype"] for row in rows}, key=DTYPES.index)
    # More links do nothing for on-demand: it is shown once.
    shown = [row for row in rows if row["method"] != "demand" or row["links"] == 1]
    letters = _letters(provenance["setups"])
    many = len(set(letters.values())) > 1
    series = sorted({_series(row) for row in shown}, key=_order)
    counts = sorted({row["links"] for row in rows})
    # Bars stay wide enough for their labels.
    figure = Figure(
        figsize=(max(13, 1.2 + 0.17 * len(models) * len(series)), 1.4 + 2.9 * max(len(dtypes), 1)),
        dpi=160,
        layout="constrained",
    )
    panels = figure.subplots(max(len(dtypes), 1), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    width = CLUSTER / max(len(series), 1)
    for axes, dtype in zip(panels, dtypes):
        for row in (row for row in shown if row["dtype"] == dtype):
            place = series.index(_series(row)) - (len(series) - 1) / 2
            label = f"{row['ratio']:.2f}{f' {letters[origin_of(row)]}' if many else ''}"
            _bar(axes, models.index(row["model"]) + place * width, width, row, _colour(row, counts), label)
        axes.axhline(1.0, color=FLOOR, linewidth=1.4, zorder=4)
        axes.set_ylabel(f"{dtype}\ncold start / floor (log)")
    for axes in panels:
        _scale(axes, models, [bound for row in shown for bound in (row["ratio"], _p99_ratio(row))])
    figure.suptitle(_title(rows, provenance["setups"], letters), fontsize=11, x=0.01, ha="left")
    handles: list[Any] = [_patch(one, counts) for one in series]
    handles.append(Patch(color=FLOOR, label="floor"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _bar(axes: Axes, x: float, width: float, row: Row, colour: str, label: str) -> None:
    """From the floor to the median, with a tick at the 99th percentile."""
    ratio, p99 = row["ratio"], _p99_ratio(row)
    hatch = CODED_HATCH if row["coded"] else None
    axes.bar(
        x, ratio - 1, width * 0.92, bottom=1.0, color=colour, hatch=hatch, edgecolor="white", linewidth=0, zorder=2
    )
    axes.plot([x, x], [ratio, max(ratio, p99)], color="#333a45", linewidth=0.8, zorder=3)
    axes.plot(x, p99, marker="_", color="#333a45", markersize=4, zorder=3)
    label_bar(axes, x, max(ratio, p99, 1.0), label)


def _scale(axes: Axes, models: Sequence[str], ratios: Sequence[float]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(min([0.95, *ratios]) * 0.98, max([2.0, *ratios]) * 1.35)
    ticks = [tick for tick in (0.5, 1, 1.5, 2, 3, 5, 10, 20, 50) if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xticks(range(len(models)), models)
    axes.set_xlim(-0.55, len(models) - 0.45)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _p99_ratio(row: Row) -> float:
    ratio: float = row["cold_p99_ms"] / row["floor_ms"]
    return ratio


def _series(row: Row) -> Series:
    return row["method"], row["coded"], row["links"]


def _order(series: Series) -> tuple[bool, int, int, bool]:
    method, coded, links = series
    return method != "demand", links, list(TITLES).index(method), coded


def _colour(row: Row, counts: Sequence[int]) -> str:
    return _shade(row["method"], counts.index(row["links"]))


def _shade(method: str, rank: int) -> str:
    return COLOURS[method][min(rank, len(COLOURS[method]) - 1)]


def _patch(series: Series, counts: Sequence[int]) -> Patch:
    method, coded, links = series
    label = f"{TITLES[method]}{' coded' if coded else ''}, {links} link{'s' if links > 1 else ''}"
    return Patch(facecolor=_shade(method, counts.index(links)), hatch=CODED_HATCH if coded else None, label=label)


def _letters(setups: Sequence[Mapping[str, Any]]) -> dict[Origin, str]:
    """A letter for each run: the same where machine and commit are."""
    places = list(dict.fromkeys(origin_of(setup)[:2] for setup in setups))
    return {origin_of(setup): string.ascii_lowercase[places.index(origin_of(setup)[:2])] for setup in setups}


def _title(rows: Sequence[Row], setups: Sequence[Mapping[str, Any]], letters: Mapping[Origin, str]) -> str:
    repeats = max((row["repeats"] for row in rows), default=0)
    first = {letters[origin_of(setup)]: setup for setup in reversed(setups)}
    places = [
        f"{letter}: {setup['machine']}, commit {setup['commit'][:7]}, torch {setup['torch']}"
        for letter, setup in sorted(first.items())
    ]
    return (
        f"Cold starts over the hardware's floor, batch 1; medians of {repeats}, ticks at the 99th percentile\n"
        f"{'; '.join(places) if len(places) > 1 else ''.join(places)[3:]}"
    )
