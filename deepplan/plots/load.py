"""A served workload as a picture: each request's latency, and what it comes to minute by minute."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogFormatter

from deepplan.client.report import Report, Summary
from deepplan.client.requests import Requests
from deepplan.client.transport import Status
from deepplan.planning.documents import write_atomically
from deepplan.plots.rendering import rendered

WARM, COLD, UNTOLD, LOST, LINE = "#5b9fd4", "#f0902b", "#8d96a3", "#d1495b", "#333a45"
MAX_DOTS = 8_000  # of a kind: more are thinned evenly, as they would only hide each other
WIDTH_INCHES, DPI = 11.0, 140


def draw_load(requests: Requests, report: Report, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draws `requests` and the minutes of their `report`, and saves it at `path` in the format of its suffix if one is
    given.

    Raises InvalidInputError for a suffix that matplotlib cannot write, or a folder that cannot be written.
    """
    by_minute = bool(report.minutes)
    figure = Figure(figsize=(WIDTH_INCHES, 8.5 if by_minute else 4.8), dpi=DPI, layout="constrained")
    all_axes = figure.subplots(3 if by_minute else 1, 1, sharex=True, squeeze=False)[:, 0]
    unit, unit_ms = ("min", 60e3) if by_minute else ("s", 1e3)
    _draw_latencies(all_axes[0], requests, report, unit_ms)
    if by_minute:
        _draw_shares(all_axes[1], report)
        _draw_rates(all_axes[2], report)
    for axes in all_axes:
        axes.grid(color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9, markerscale=2)
    all_axes[0].set_xlim(0, requests.duration_ms / unit_ms)
    all_axes[0].set_title(f"{report.workload or 'workload'}, {report.source}", loc="left", fontsize=11)
    all_axes[-1].set_xlabel(f"time at which the request was due, {unit}")
    if path is not None:
        write_atomically(path, rendered(figure, Path(path).suffix))
    return figure


def _draw_latencies(axes: Axes, requests: Requests, report: Report, unit_ms: float) -> None:
    answered = requests.status == Status.ANSWERED
    for label, cold, colour in (("answered warm", 0, WARM), ("answered cold", 1, COLD), ("answered", -1, UNTOLD)):
        _draw_dots(axes, requests, answered & (requests.cold == cold), label, colour, unit_ms)
    lost_ms = requests.times_ms[~answered]
    if len(lost_ms):  # along the upper edge: they have no latency
        axes.plot(
            lost_ms / unit_ms,
            np.full(len(lost_ms), 0.985),
            "|",
            color=LOST,
            markersize=5,
            transform=axes.get_xaxis_transform(),
            label="refused or failed",
            rasterized=True,
        )
    _draw_minutes(axes, report, lambda summary: summary.p99_ms, "p99 by minute", LINE)
    if report.objective_ms is not None:
        label = f"objective, {report.objective_ms:g} ms"
        axes.axhline(report.objective_ms, color=LOST, linewidth=1.2, linestyle=(0, (4, 3)), label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    axes.set_ylabel("latency, ms")


def _draw_dots(axes: Axes, requests: Requests, which: np.ndarray, label: str, colour: str, unit_ms: float) -> None:
    indices = np.flatnonzero(which)
    if len(indices) == 0:
        return
    shown = indices[:: -(-len(indices) // MAX_DOTS)]
    times, latencies_ms = requests.times_ms[shown] / unit_ms, requests.latency_ms[shown]
    axes.plot(times, latencies_ms, ".", color=colour, markersize=2.5, label=label, rasterized=True)


def _draw_shares(axes: Axes, report: Report) -> None:
    _draw_minutes(axes, report, lambda summary: _percent(summary.goodput), "goodput", WARM)
    _draw_minutes(axes, report, lambda summary: _percent(summary.cold_rate), "cold starts", COLD)
    axes.set_ylabel("share by minute, %")
    axes.set_ylim(-2, 102)


def _draw_rates(axes: Axes, report: Report) -> None:
    _draw_minutes(axes, report, lambda summary: summary.requests, "offered", LINE)
    _draw_minutes(axes, report, lambda summary: summary.answered, "answered", WARM)
    axes.set_ylabel("requests a minute")
    axes.set_ylim(bottom=0)


def _draw_minutes(
    axes: Axes, report: Report, value: Callable[[Summary], float | None], label: str, colour: str
) -> None:
    """One level a minute; a minute without the number leaves a gap."""
    if not report.minutes:
        return
    values = [np.nan if (number := value(each.summary)) is None else number for each in report.minutes]
    edges = [*(each.minute for each in report.minutes), report.duration_ms / 60e3]
    axes.stairs(values, edges, baseline=None, color=colour, linewidth=1.6, label=label, zorder=3)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
