"""A timeline as a picture: one lane for each link, one for execution, on a common axis in ms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from deepplan.planning.documents import write_atomically
from deepplan.planning.timeline import Timeline, TimelineLayer
from deepplan.plots.rendering import rendered

ROUTE_SHADES = (("#1f6fb2", "#5b9fd4"), ("#2a8c6e", "#62b89d"), ("#7b57a6", "#a68ac9"), ("#a8577e", "#cf8fae"))
RESIDENT, IN_PLACE, NO_PARAMETERS, STALL, CODED = "#5b9fd4", "#f0902b", "#c9ced6", "#d1495b", "#333a45"
WIDTH_INCHES, LANE_INCHES, DPI = 12.0, 0.62, 160
LANE_HEIGHT, CODED_HEIGHT = 0.72, 0.1  # a bar along the edge of the lane marks coded groups
EDGES_UP_TO = 120  # more blocks than this in a lane have no edges: they would hide the blocks

Span = tuple[float, float]


class TimelineFigure(Figure):
    """A figure that notebooks show by itself, without a plotting session."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png")


def draw_timeline(timeline: Timeline, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draws `timeline`, and saves it at `path` in the format of its suffix if one is given.

    Raises InvalidInputError for a suffix that matplotlib cannot write, or a folder that cannot be written.
    """
    routes = sorted({group.route for group in timeline.groups})
    lanes = [*(f"link {_device(timeline, route)}" for route in routes), "execution"]
    figure = TimelineFigure(figsize=(WIDTH_INCHES, 1.5 + LANE_INCHES * len(lanes)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for lane, route in enumerate(routes):
        _draw_link(axes, timeline, route, lane)
    handles = _draw_execution(axes, timeline, len(routes)) + _coded_handles(timeline)
    axes.axvline(timeline.total_ms, color="#333a45", linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_xlim(0, max(timeline.total_ms * 1.01, 1e-9))
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_yticks(range(len(lanes)), lanes)
    axes.set_xlabel("ms since the call")
    axes.set_title(_title(timeline), loc="left", fontsize=11)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    if path is not None:
        write_atomically(path, rendered(figure, Path(path).suffix))
    return figure


def _draw_link(axes: Axes, timeline: Timeline, route: int, lane: int) -> None:
    groups = [(index, group) for index, group in enumerate(timeline.groups) if group.route == route]
    spans = [(group.start_ms, group.end_ms - group.start_ms) for _, group in groups]
    _blocks(axes, lane, spans, [_shade(timeline, index) for index, _ in groups])
    coded = [span for span, (_, group) in zip(spans, groups) if group.coded]
    axes.broken_barh(coded, (lane + LANE_HEIGHT / 2 - CODED_HEIGHT, CODED_HEIGHT), facecolor=CODED)
    for (index, group), (start, width) in zip(groups, spans):
        share = width / max(timeline.total_ms, 1e-9)
        label = f"{index}: {group.crossing_bytes / 1e6:.3g} MB" if share > 0.09 else str(index) if share > 0.025 else ""
        if group.coded and label:
            label += " coded" if share > 0.09 else "c"
        axes.text(start + width / 2, lane, label, ha="center", va="center", color="white", fontsize=8, clip_on=True)


def _draw_execution(axes: Axes, timeline: Timeline, lane: int) -> list[Patch]:
    """Draws the lane of execution; returns what the legend says of it."""
    kinds: dict[str, list[tuple[Span, str]]] = {"loaded layer, in its group's colour": []}
    names = {RESIDENT: "resident layer", IN_PLACE: "read in place (DHA)", NO_PARAMETERS: "no parameters"}
    for layer in timeline.layers:
        colour = _colour(timeline, layer)
        name = names.get(colour if layer.group < 0 else "", "loaded layer, in its group's colour")
        kinds.setdefault(name, []).append(((layer.start_ms, layer.end_ms - layer.start_ms), colour))
    blocks = sorted(block for kind in kinds.values() for block in kind)
    _blocks(axes, lane, [span for span, _ in blocks], [colour for _, colour in blocks])
    stalls = [(layer.start_ms - layer.stall_ms, layer.stall_ms) for layer in timeline.layers if layer.stall_ms > 0]
    style: dict[str, Any] = {"facecolor": "#fbe9ec", "edgecolor": STALL, "hatch": "////", "linewidth": 0.0}
    axes.broken_barh(stalls, (lane - LANE_HEIGHT / 4, LANE_HEIGHT / 2), **style)
    handles = [Patch(color=kind[0][1], label=name) for name, kind in kinds.items() if kind]
    return [*handles, Patch(label="stall: waiting for weights", **style)] if stalls else handles


def _coded_handles(timeline: Timeline) -> list[Patch]:
    """What the legend says of coded groups, if there are any."""
    return [Patch(color=CODED, label="coded")] if any(group.coded for group in timeline.groups) else []


def _blocks(axes: Axes, lane: int, spans: list[Span], colours: list[str]) -> None:
    edge = 0.4 if len(spans) <= EDGES_UP_TO else 0.0
    bottom = lane - LANE_HEIGHT / 2
    axes.broken_barh(spans, (bottom, LANE_HEIGHT), facecolors=colours, edgecolor="white", linewidth=edge)


def _colour(timeline: Timeline, layer: TimelineLayer) -> str:
    if layer.group >= 0:
        return _shade(timeline, layer.group)
    if layer.size_bytes == 0:
        return NO_PARAMETERS
    return IN_PLACE if layer.placement == "dha" else RESIDENT


def _shade(timeline: Timeline, group: int) -> str:
    """The colour of the group's link, in the shade that its predecessor on that link does not have."""
    route = timeline.groups[group].route
    before = sum(1 for other in timeline.groups[:group] if other.route == route)
    return ROUTE_SHADES[route % len(ROUTE_SHADES)][before % 2]


def _device(timeline: Timeline, route: int) -> str:
    return timeline.devices[route] if timeline.devices else str(route)


def _title(timeline: Timeline) -> str:
    policy = f"policy {timeline.policy}" if timeline.policy else ""
    what = ", ".join(filter(None, (timeline.model, policy)))
    times = f"{timeline.kind} {timeline.total_ms:.3f} ms, {timeline.stall_ms:.3f} ms of it stalled"
    return f"{what}: {times}" if what else times
