"""Each bad input gives one clear error of ours, leaves nothing half-loaded, and the process goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import deepplan
from deepplan import _core
from deepplan.engine import machine
from deepplan.errors import (
    DeepPlanError,
    DeviceError,
    ExportError,
    InvalidInputError,
    MismatchError,
    OutOfMemoryError,
    UnknownNameError,
)

pytestmark = pytest.mark.usefixtures("goes_on")

SIZE = 64
Make = Callable[..., Any]


@pytest.fixture
def no_pinned_memory() -> Iterator[None]:
    """What is reserved is all there is."""
    _core.trim_arena()
    _core.set_arena_limit(max(1, _core.arena_stats().reserved_bytes))
    yield
    _core.set_arena_limit(0)


def large() -> nn.Module:
    """64 MiB: more than the arena keeps in reserve."""
    return nn.Linear(4096, 4096, bias=False).eval()


def test_too_little_pinned_memory(no_pinned_memory: None, plan_for: Make) -> None:
    wide, x = large(), torch.zeros(1, 4096)
    with pytest.raises(OutOfMemoryError, match=r"not enough pinned memory for 64\.0 MiB.*limit"):
        deepplan.load(wide, plan_for(wide, x), example_inputs=x)


def test_too_little_pinned_memory_leaves_the_module_its_weights(no_pinned_memory: None, plan_for: Make) -> None:
    wide, x = large(), torch.zeros(1, 4096)
    with pytest.raises(OutOfMemoryError):
        deepplan.load(wide, plan_for(wide, x), example_inputs=x, release=True)
    assert wide.weight.untyped_storage().size() == wide.weight.nbytes


def test_too_little_device_memory(model: nn.Module, plan: deepplan.Plan) -> None:
    target = machine.target("host:0")
    with deepplan.load(model, plan) as session:
        target.set_budget(1024)
        try:
            for _ in range(2):
                with pytest.raises(OutOfMemoryError, match=r"budget is 1\.0 KiB|budget is 1024 bytes"):
                    session(model.example_inputs)
                assert not session.is_resident
        finally:
            target.set_budget(0)
        assert torch.equal(session(model.example_inputs), model(model.example_inputs))


def test_activations_that_do_not_fit(backend: str, plan_for: Make) -> None:
    class Huge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(SIZE, SIZE)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x).repeat(1 << 20, 1 << 20)

    wide = Huge().eval()
    x = torch.zeros(2, SIZE)
    with deepplan.load(wide, plan_for(wide, x, (f"{backend}:0",)), example_inputs=x) as session:
        with pytest.raises(OutOfMemoryError, match="do not fit"):
            session(x)
        assert not session.is_resident


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"torch": "1.13.0"}, "torch 1.13.0"),
        ({"machine": "h200x4"}, "h200x4"),
        ({"model_digest": "0" * 64, "model": "another"}, "another"),
    ],
)
def test_a_plan_for_something_else(model: nn.Module, plan: deepplan.Plan, change: dict[str, str], named: str) -> None:
    with pytest.raises(MismatchError, match=named):
        deepplan.load(model, replace(plan, **change))  # type: ignore[arg-type]


def test_a_plan_for_another_model_without_an_origin(plan: deepplan.Plan) -> None:
    other = nn.Linear(SIZE, 3).eval()
    with pytest.raises(MismatchError, match="another model"):
        deepplan.load(other, replace(plan, model_digest="", model=""), example_inputs=torch.zeros(2, SIZE))


def test_a_plan_for_more_links(model: nn.Module, plan_for: Make) -> None:
    two = plan_for(model, devices=("host:0", "host:1"))
    with pytest.raises(MismatchError, match="uses 2 links and 1 devices"):
        deepplan.load(model, two, devices=["host:0"])


@pytest.mark.parametrize(
    ("devices", "named"),
    [
        (["host:0", "host:0"], "named twice"),
        (["host:0", "host:00"], "named twice"),
        (["host:9"], "host:9 is not there.*4"),
        ([], "no device"),
        (["tpu:0"], "tpu:0"),
        ([-1], "-1"),
        ("host:", "host:"),
    ],
)
def test_devices_that_cannot_be(model: nn.Module, plan: deepplan.Plan, devices: Any, named: str) -> None:
    with pytest.raises(DeviceError, match=named):
        deepplan.load(model, plan, devices=devices)
    with pytest.raises(DeviceError, match=named):
        deepplan.plan(model, devices=devices)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_below_one(model: nn.Module, batch: int) -> None:
    with pytest.raises(InvalidInputError, match=str(batch)):
        deepplan.plan(model, batch_sizes=(batch,))


def test_names_that_do_not_exist(model: nn.Module, tmp_path: Path, profile_for: Make) -> None:
    with pytest.raises(UnknownNameError, match=r"resnet5.*resnet50"):
        deepplan.plan("resnet5")
    with pytest.raises(UnknownNameError, match=r"best.*optimal"):
        deepplan.search(profile_for(model), "best")
    with pytest.raises(UnknownNameError, match=r"fp8.*bf16"):
        deepplan.plan(model, dtype="fp8")
    with pytest.raises(DeepPlanError, match="missing"):
        deepplan.plan(str(tmp_path / "missing.pt2"))
    with pytest.raises(InvalidInputError, match="needs a plan"):
        deepplan.load(model)


def test_a_module_that_does_not_say_what_it_takes() -> None:
    with pytest.raises(InvalidInputError, match="pass example_inputs"):
        deepplan.plan(nn.Linear(2, 2))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(SIZE, SIZE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x)
        if y.sum() > 0:
            y = y + 1
        return y


def test_control_flow_that_depends_on_data_is_named() -> None:
    with pytest.raises(ExportError, match=r"test_bad_input\.py:\d+ `if y\.sum\(\) > 0:`"):
        deepplan.plan(Branching().eval(), torch.zeros(2, SIZE))


def test_inputs_that_do_not_fit_the_module(model: nn.Module) -> None:
    with pytest.raises(ExportError, match="Sequential"):
        deepplan.plan(model, torch.zeros(2, SIZE + 1))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda session, x: session(x[:1]), r"\[1, 64\].*\[2, 64\]"),
        (lambda session, x: session(x.double()), "Double.*float32"),
        (lambda session, x: session(x, x), "call"),
        (lambda session, x: session(), "call"),
        (lambda session, x: session(x=x), "call"),
        (lambda session, x: session([x]), "tensor"),
        (lambda session, x: session(None), "None"),
        (lambda session, x: session(x.numpy()), "tensor"),
        (lambda session, x: session(x.to("meta")), "meta"),
        (lambda session, x: session(x.to_sparse()), "sparse|Sparse|strided"),
    ],
)
def test_a_call_of_another_signature(
    model: nn.Module, plan: deepplan.Plan, call: Callable[..., object], named: str
) -> None:
    with deepplan.load(model, plan) as session:
        with pytest.raises(InvalidInputError, match=named):
            call(session, model.example_inputs)
        assert torch.equal(session(model.example_inputs), model(model.example_inputs))


@pytest.mark.cuda
def test_inputs_on_another_gpu(model: nn.Module, plan_for: Make) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    with deepplan.load(model, plan_for(model, devices=("cuda:0",))) as session:
        with pytest.raises(InvalidInputError, match="on cuda:1; the model runs on cuda:0"):
            session(model.example_inputs.to("cuda:1"))
        torch.testing.assert_close(session(model.example_inputs.to("cuda:0")).cpu(), model(model.example_inputs))


@pytest.mark.cuda
def test_inputs_on_a_gpu_for_a_model_on_the_host(model: nn.Module, plan: deepplan.Plan) -> None:
    with (
        deepplan.load(model, plan) as session,
        pytest.raises(InvalidInputError, match="on cuda:0; the model runs on cpu"),
    ):
        session(model.example_inputs.to("cuda:0"))


def test_a_closed_session(model: nn.Module, plan: deepplan.Plan) -> None:
    session = deepplan.load(model, plan)
    session.close()
    with pytest.raises(InvalidInputError, match="closed"):
        session(model.example_inputs)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"link_gbps": 0.0}, "0"), ({"link_gbps": -1.0}, "-1"), ({"link_latency_us": -1.0}, "-1"), ({"count": 0}, "0")],
)
def test_host_links_that_cannot_be(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        machine.set_host_links(machine.HostLinks(**settings))
