"""From a plan document to the plan the runtime executes."""

from __future__ import annotations

from deepplan import _core
from deepplan.errors import MismatchError
from deepplan.export.graph import Graph
from deepplan.planning.plan import Plan


def layer_sizes(graph: Graph) -> list[int]:
    """Bytes of the storages that each layer owns."""
    return [sum(graph.storages[storage].size_bytes for storage in layer.storages) for layer in graph.layers]


def execution_plan(graph: Graph, plan: Plan, links: int) -> _core.ExecutionPlan:
    """`plan` for `graph`, over `links` links. Raises MismatchError naming the first layer that is another model's."""
    planned = [(layer.name, layer.size_bytes) for layer in plan.layers]
    actual = list(zip((layer.name for layer in graph.layers), layer_sizes(graph)))
    if planned != actual:
        index = next((i for i, (a, b) in enumerate(zip(planned, actual)) if a != b), min(len(planned), len(actual)))
        raise MismatchError(
            f"the plan is for another model: it has {len(planned)} layers, the model {len(actual)}, and they first "
            f"differ at layer {index}; plan this model again"
        )
    if len(plan.links) > links:
        raise MismatchError(f"the plan uses {len(plan.links)} links and {links} devices are given; name as many")
    for layer, planned_layer in zip(graph.layers, plan.layers):
        if planned_layer.placement == "dha" and planned_layer.size_bytes > 0 and not layer.direct_host_access:
            raise MismatchError(f"the plan reads layer {layer.name} in place, which cannot be; plan this model again")
    return _core.ExecutionPlan(
        loads=[layer.placement == "load" for layer in plan.layers],
        groups=[layer.group for layer in plan.layers],
        routes=list(plan.routes),
        coded=list(plan.coded),
    )
