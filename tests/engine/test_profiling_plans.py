"""The profiler's plans copy every parameter once, in order, over the links they are meant for."""

from __future__ import annotations

import itertools

import pytest
import torch

from deepplan.engine import profiling_plans
from deepplan.engine.binding import layer_sizes
from deepplan.engine.profiling_plans import all_in_place, one_group, one_group_per_layer
from deepplan.engine.source import resolve
from deepplan.export.graph import Graph


class Choices:
    """Stands in for the runtime's plan, whose fields cannot be read."""

    def __init__(self, loads: list[bool], groups: list[int], routes: list[int]) -> None:
        self.loads, self.groups, self.routes = loads, groups, routes


@pytest.fixture(autouse=True)
def readable_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling_plans._core, "ExecutionPlan", Choices)


def graph_of(*layers: torch.nn.Module) -> Graph:
    return resolve(torch.nn.Sequential(*layers).eval(), torch.ones(1, 8)).captured.graph


def linears(*widths: int) -> Graph:
    """Linear layers of these widths, a layer without parameters behind each."""
    pairs = ((torch.nn.Linear(a, b), torch.nn.ReLU()) for a, b in itertools.pairwise([8, *widths]))
    return graph_of(*itertools.chain.from_iterable(pairs))


GRAPHS = {
    "equal": lambda: linears(*[8] * 12),
    "fewer_layers_than_links": lambda: linears(8, 8),
    "one_layer": lambda: linears(8),
    "large_first": lambda: linears(512, 8, 8, 8, 8),
    "large_last": lambda: linears(8, 8, 8, 8, 512),
    "no_parameters": lambda: graph_of(torch.nn.ReLU(), torch.nn.Tanh()),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_one_group_holds_all_parameters(name: str) -> None:
    graph = GRAPHS[name]()
    loads = [size > 0 for size in layer_sizes(graph)]
    plan = one_group(graph)
    assert (plan.loads, plan.groups) == (loads, [0 if load else -1 for load in loads])
    assert plan.routes == ([0] if any(loads) else [])


@pytest.mark.parametrize("links", [1, 2, 3, 4])
@pytest.mark.parametrize("name", GRAPHS)
def test_one_group_per_layer_takes_turns(name: str, links: int) -> None:
    graph = GRAPHS[name]()
    sizes = [size for size in layer_sizes(graph) if size]
    copies = one_group_per_layer(graph, links)
    assert list(copies.group_bytes) == sizes
    assert [group for group in copies.plan.groups if group != -1] == list(range(len(sizes)))
    assert copies.plan.routes == [index % links for index in range(len(sizes))]


def test_all_in_place_loads_only_what_cannot_be_read_there() -> None:
    graph = linears(8, 8)
    choices = all_in_place(graph)
    assert (choices.loads, choices.groups, choices.routes) == ([False] * 4, [-1] * 4, [])

    object.__setattr__(graph.layers[2], "direct_host_access", False)
    choices = all_in_place(graph)
    assert (choices.loads, choices.groups, choices.routes) == ([False, False, True, False], [-1, -1, 0, -1], [0])
    choices = all_in_place(graph, [False, True, True, True])
    assert (choices.loads, choices.groups, choices.routes) == ([True, False, True, False], [0, -1, 0, -1], [0])
