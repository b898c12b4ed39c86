"""The plans a profiler runs: each makes one cost visible."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from deepplan import _core
from deepplan.engine.binding import layer_sizes
from deepplan.export.graph import Graph


@dataclass(frozen=True)
class Copies:
    """A plan that loads every layer with parameters, and the bytes of each of its groups."""

    plan: _core.ExecutionPlan
    group_bytes: tuple[int, ...]


def one_group(graph: Graph) -> _core.ExecutionPlan:
    """Loads everything in one copy, before the first layer: on demand."""
    loads = [size > 0 for size in layer_sizes(graph)]
    return _core.ExecutionPlan(loads, [0 if load else -1 for load in loads], [0] if any(loads) else [])


def one_group_per_layer(graph: Graph, links: int) -> Copies:
    """A copy for each layer with parameters, the links taking turns."""
    sizes = layer_sizes(graph)
    loads = [size > 0 for size in sizes]
    counted = itertools.count()
    groups = [next(counted) if load else -1 for load in loads]
    routes = [index % links for index in range(sum(loads))]
    return Copies(_core.ExecutionPlan(loads, groups, routes), tuple(filter(None, sizes)))


def all_in_place(graph: Graph, only: Sequence[bool] | None = None) -> _core.ExecutionPlan:
    """Reads in place whatever can be, or of that the layers with a flag in `only`; loads the rest in one group."""
    wanted = only if only is not None else [True] * len(graph.layers)
    loads = [
        size > 0 and not (layer.direct_host_access and in_place)
        for size, layer, in_place in zip(layer_sizes(graph), graph.layers, wanted, strict=True)
    ]
    return _core.ExecutionPlan(loads, [0 if load else -1 for load in loads], [0] if any(loads) else [])
