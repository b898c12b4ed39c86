"""A plan is bound to the model it was made for, and to no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

import deepplan
from deepplan.engine import binding
from deepplan.engine.source import resolve
from deepplan.errors import MismatchError
from deepplan.export.graph import Graph

MakePlan = Callable[..., deepplan.Plan]


@pytest.fixture
def graph(tiny: torch.nn.Module, ids: torch.Tensor) -> Graph:
    return resolve(tiny, ids).captured.graph


def test_layer_sizes_are_those_of_the_modules(graph: Graph) -> None:
    sizes = {layer.name: size for layer, size in zip(graph.layers, binding.layer_sizes(graph))}
    weights = {"embed": 64000, "norm": 128, "first": 64 * 256 + 256, "act": 0, "second": 256 * 64 + 64, "head": 650}
    for name, count in weights.items():
        assert sizes[name] == 4 * count
    assert sum(sizes.values()) == 4 * sum(weights.values())


def test_a_storage_that_layers_share_counts_once() -> None:
    shared = torch.nn.Linear(8, 8)
    model = torch.nn.Sequential(shared, torch.nn.ReLU(), shared).eval()
    graph = resolve(model, torch.ones(1, 8)).captured.graph
    assert sum(binding.layer_sizes(graph)) == 4 * (64 + 8)


def test_the_plans_choices_reach_the_runtime(
    graph: Graph, tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Sequence[object]] = {}
    monkeypatch.setattr(binding._core, "ExecutionPlan", lambda **choices: given.update(choices))
    plan = make_plan(tiny, ids, "each_layer", 2)
    binding.execution_plan(graph, plan, 2)
    assert given["loads"] == [layer.size_bytes > 0 for layer in plan.layers]
    assert [group for group in given["groups"] if group != -1] == list(range(5))
    assert given["routes"] == [0, 1, 0, 1, 0]


def test_more_links_than_devices_are_refused(
    graph: Graph, tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan
) -> None:
    plan = make_plan(tiny, ids, "each_layer", 2)
    binding.execution_plan(graph, plan, 3)
    with pytest.raises(MismatchError, match="uses 2 links and 1 devices"):
        binding.execution_plan(graph, plan, 1)


def test_another_models_plan_is_refused_at_the_first_difference(
    graph: Graph, tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan
) -> None:
    plan = make_plan(tiny, ids, "each_layer")

    def with_layer(index: int, **changes: object) -> deepplan.Plan:
        layers, drawn = list(plan.layers), list(plan.timeline.layers)
        layers[index] = replace(layers[index], **changes)  # type: ignore[arg-type]
        drawn[index] = replace(drawn[index], **changes)  # type: ignore[arg-type]
        sizes = [0] * len(plan.routes)
        for layer in layers:
            if layer.group >= 0:
                sizes[layer.group] += layer.size_bytes
        groups = tuple(replace(group, size_bytes=size) for group, size in zip(plan.timeline.groups, sizes))
        return replace(plan, layers=tuple(layers), timeline=replace(plan.timeline, layers=tuple(drawn), groups=groups))

    binding.execution_plan(graph, with_layer(1), 1)
    with pytest.raises(MismatchError, match="differ at layer 1;"):
        binding.execution_plan(graph, with_layer(1, name="other"), 1)
    with pytest.raises(MismatchError, match="differ at layer 2;"):
        binding.execution_plan(graph, with_layer(2, size_bytes=plan.layers[2].size_bytes + 4), 1)


def test_a_plan_for_the_first_layers_only_is_refused(make_plan: MakePlan) -> None:
    def stack(count: int) -> torch.nn.Module:
        return torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(count))).eval()

    x = torch.ones(1, 4)
    short, long = stack(2), stack(3)
    for model, other in ((short, long), (long, short)):
        plan, graph = make_plan(other, x), resolve(model, x).captured.graph
        counts = f"has {len(plan.layers)} layers, the model {len(graph.layers)}"
        with pytest.raises(MismatchError, match=f"{counts}.*layer 2;"):
            binding.execution_plan(graph, plan, 1)


def test_a_layer_that_must_be_loaded_is_not_read_in_place(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: Callable[..., deepplan.Plan], graph: Graph
) -> None:
    """Only an edited plan can ask for it: the profile offers no time for such a layer."""
    plan = make_plan(tiny, ids, "in_place")
    layers = tuple(replace(layer, direct_host_access=layer.name != "first") for layer in graph.layers)
    with pytest.raises(MismatchError, match="layer first in place"):
        binding.execution_plan(replace(graph, layers=layers), plan, 1)
