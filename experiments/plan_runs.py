"""Runs of layers that a plan treats alike: what makes a plan of hundreds of layers short enough to read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepplan.planning.plan import Plan, PlanLayer
from deepplan.planning.timeline import TimelineLayer


@dataclass(frozen=True)
class Run:
    """Consecutive layers of one group, or consecutive layers read in place; layers without parameters join the run
    before them. `group` and `route` are -1, and `arrives_ms` None, for what is not loaded."""

    layers: int
    first: str
    last: str
    choice: str
    group: int
    route: int
    size_bytes: int
    arrives_ms: float | None
    start_ms: float
    end_ms: float


def runs_of(plan: Plan) -> list[Run]:
    """The runs of `plan`, in execution order, with the times of its predicted timeline."""
    runs: list[Run] = []
    for layer, times in zip(plan.layers, plan.timeline.layers):
        if runs and (layer.size_bytes == 0 or (layer.group, _choice(layer)) == (runs[-1].group, runs[-1].choice)):
            last = runs[-1]
            size_bytes = last.size_bytes + layer.size_bytes
            runs[-1] = replace(
                last, layers=last.layers + 1, last=layer.name, size_bytes=size_bytes, end_ms=times.end_ms
            )
        else:
            runs.append(_begin(plan, layer, times))
    return runs


def _begin(plan: Plan, layer: PlanLayer, times: TimelineLayer) -> Run:
    return Run(
        layers=1,
        first=layer.name,
        last=layer.name,
        choice=_choice(layer),
        group=layer.group,
        route=layer.route,
        size_bytes=layer.size_bytes,
        arrives_ms=plan.timeline.groups[layer.group].end_ms if layer.group >= 0 else None,
        start_ms=times.start_ms,
        end_ms=times.end_ms,
    )


def _choice(layer: PlanLayer) -> str:
    if layer.size_bytes == 0:
        return "-"
    return "load" if layer.placement == "load" else "DHA"
