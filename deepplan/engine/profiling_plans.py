"""The plans a profiler runs: each makes one cost visible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepplan import _core
from deepplan.engine.binding import layer_sizes
from deepplan.export.graph import Graph


@dataclass(frozen=True)
class Copies:
    """A plan that loads every layer with parameters, and the bytes and the route of each of its groups."""

    plan: _core.ExecutionPlan
    group_bytes: tuple[int, ...]
    routes: tuple[int, ...]


def one_group_per_link(graph: Graph, links: int) -> Copies:
    """Cuts the parameters into as many runs of about equal bytes as there are links; with one link, on-demand."""
    sizes = layer_sizes(graph)
    total, before = sum(sizes), 0
    groups: list[int] = []
    for size in filter(None, sizes):
        wanted = before * links // total
        groups.append(min(wanted, groups[-1] + 1) if groups else 0)
        before += size
    return _copies(sizes, groups, range(max(groups, default=-1) + 1))


def one_group_per_layer(graph: Graph, links: int) -> Copies:
    """A copy for each layer with parameters, the links taking turns."""
    sizes = layer_sizes(graph)
    count = sum(size > 0 for size in sizes)
    return _copies(sizes, range(count), [index % links for index in range(count)])


def all_in_place(graph: Graph, only: Sequence[bool] | None = None) -> _core.ExecutionPlan:
    """Reads in place whatever can be, or of that the layers with a flag in `only`; loads the rest in one group."""
    wanted = only if only is not None else [True] * len(graph.layers)
    loads = [
        size > 0 and not (layer.direct_host_access and in_place)
        for size, layer, in_place in zip(layer_sizes(graph), graph.layers, wanted, strict=True)
    ]
    return _core.ExecutionPlan(loads, [0 if load else -1 for load in loads], [0] if any(loads) else [])


def _copies(sizes: Sequence[int], groups: Iterable[int], routes: Sequence[int]) -> Copies:
    """`groups` has an entry for each layer with parameters."""
    remaining = iter(groups)
    of_layer = [next(remaining) if size else -1 for size in sizes]
    group_bytes = [0] * len(routes)
    for size, group in zip(sizes, of_layer):
        if group >= 0:
            group_bytes[group] += size
    plan = _core.ExecutionPlan([group >= 0 for group in of_layer], of_layer, list(routes))
    return Copies(plan, tuple(group_bytes), tuple(routes))
