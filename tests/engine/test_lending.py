"""A plan goes on without links that are not there; who lends is found out by trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import deepplan
from deepplan.engine.devices import Devices
from deepplan.engine.lending import detour, find_lenders

MakePlan = Callable[..., deepplan.Plan]


@pytest.fixture
def plan(tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan) -> deepplan.Plan:
    """Five groups over three named links in turn: 256000, 512, 66560, 65792 and 2600 bytes."""
    made = make_plan(tiny, ids, "each_layer", 3)
    names = ("host:0", "host:1", "host:2")
    plan = replace(made, devices=names, timeline=replace(made.timeline, devices=names))
    assert plan.routes == (0, 1, 2, 0, 1)
    return plan


def test_with_all_links_it_is_the_plan_itself(plan: deepplan.Plan) -> None:
    assert detour(plan, [0, 1, 2]) is plan
    assert detour(plan, [0, 1, 2, 3]) is plan  # more devices than it uses


@pytest.mark.parametrize(
    ("positions", "routes"),
    [([0], (0, 0, 0, 0, 0)), ([0, 2], (0, 1, 1, 0, 1)), ([0, 1], (0, 1, 1, 0, 1)), ([0, 2, 3], (0, 1, 1, 0, 1))],
)
def test_others_carry_what_a_missing_link_would_have(
    plan: deepplan.Plan, positions: list[int], routes: tuple[int, ...]
) -> None:
    found = detour(plan, positions)
    kept = [position for position in positions if position < 3]
    assert found.routes == routes
    assert found.devices == found.timeline.devices == tuple(f"host:{position}" for position in kept)
    assert found.links == tuple(kept)
    assert [layer.group for layer in found.layers] == [layer.group for layer in plan.layers]
    assert [group.size_bytes for group in found.timeline.groups] == [g.size_bytes for g in plan.timeline.groups]


def test_a_plan_without_names_has_none_afterwards(plan: deepplan.Plan) -> None:
    nameless = replace(plan, devices=(), timeline=replace(plan.timeline, devices=()))
    assert detour(nameless, [0]).devices == ()


def test_all_lend_who_can() -> None:
    devices = Devices(("host:0", "host:2", "host:1"))
    lenders = find_lenders(devices)
    assert lenders.devices is devices and lenders.positions == (0, 1, 2) and not lenders.refusals
