"""`load(..., release=True)` frees the module's own weights, each when its last user was copied."""

from __future__ import annotations

from collections.abc import Callable

import torch

import deepplan

MakePlan = Callable[..., deepplan.Plan]


def test_release_frees_the_modules_copy(tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan) -> None:
    plan, expected = make_plan(tiny, ids), tiny(ids)
    session = deepplan.load(tiny, plan, devices=["host:0"], example_inputs=ids, release=True)
    assert tiny.first.weight.untyped_storage().size() == 0
    assert torch.equal(session(ids), expected)


def test_release_waits_for_the_last_weight_in_a_memory(make_plan: MakePlan) -> None:
    class Chunks(torch.nn.Module):
        """Three weights that are parts of one memory."""

        def __init__(self) -> None:
            super().__init__()
            parts = torch.randn(3 * 64, 64).chunk(3)
            self.q, self.k, self.v = (torch.nn.Parameter(part, requires_grad=False) for part in parts)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.q + x @ self.k - x @ self.v

    model, x = Chunks().eval(), torch.randn(2, 64)
    plan, expected = make_plan(model, x), model(x)
    session = deepplan.load(model, plan, devices=["host:0"], example_inputs=x, release=True)
    assert model.q.untyped_storage().size() == 0
    assert torch.equal(session(x), expected)
