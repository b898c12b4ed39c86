"""Captured runs follow their weights to wherever they lie, and serve every model of the same program."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch

import deepplan
from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.binding import execution_plan
from deepplan.engine.capturing import COLD, WARM, Captures
from deepplan.engine.devices import Devices
from deepplan.engine.filling import fill
from deepplan.engine.source import resolve
from deepplan.errors import InvalidInputError

MakePlan = Callable[..., deepplan.Plan]
OnGpu = Callable[..., torch.Tensor]
GPU = pytest.mark.cuda


@GPU
@pytest.mark.parametrize("how", ["load_all", "optimal", "each_layer", "in_place"])
def test_what_was_captured_follows_the_weights(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, how: str, on_gpu: OnGpu
) -> None:
    """A model that cannot come back to where it was captured is launched all the same, cold and warm."""
    expected = on_gpu(tiny, ids)
    plan = make_plan(tiny, ids, how)
    with deepplan.load(tiny, plan, devices="cuda:0", example_inputs=ids) as session:
        captures = session._captures
        assert captures is not None and captures.staying is None
        session._runtime.leave_home()
        machine.target("cuda:0").trim()
        with deepplan.load(tiny, plan, devices="cuda:0", example_inputs=ids) as other:  # lies where the first one did
            assert torch.equal(other(ids), expected)
            for _ in range(3):
                assert torch.equal(session(ids), expected)
                assert session.last_launch == "graph"
                other.evict(poison=True)
                assert torch.equal(session(ids), expected)
                session.evict(poison=True)
                assert torch.equal(other(ids), expected)


class ReturnsWeights(torch.nn.Module):
    """Its answer is a copy of a weight, which a graph makes by a copy of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.linear(x), self.linear.weight.clone()


@GPU
def test_copies_of_weights_follow_them_too(make_plan: MakePlan) -> None:
    models = [ReturnsWeights().eval() for _ in range(3)]
    x = torch.ones(2, 64)
    sessions = [deepplan.load(m, make_plan(m, x), devices="cuda:0", example_inputs=x) for m in models]
    for session in sessions:
        assert session._captures is not None and session._captures.staying is None
        session._runtime.leave_home()
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        for session in sessions:
            session.evict(poison=True)
        machine.target("cuda:0").trim()
        for index in order:
            out, weight = sessions[index](x)
            torch.testing.assert_close(out.cpu(), models[index](x)[0], rtol=1e-4, atol=1e-4)
            assert torch.equal(weight.cpu(), models[index].linear.weight)
            assert sessions[index].last_launch == "graph"
    for session in sessions:
        session.close()


def sessions_of(models: Sequence[torch.nn.Module], plan: deepplan.Plan, ids: torch.Tensor) -> list[_core.Session]:
    """Of models that differ in their weights, with one program: none is captured."""
    devices = Devices(("cuda:0",))
    sources = [resolve(model, ids) for model in models]
    graph = sources[0].captured.graph
    program, binding = _core.Program(graph, "cuda:0"), execution_plan(graph, plan, 1)
    sessions = [_core.Session("model", program, machine.links(devices), binding) for _ in models]
    for session, source in zip(sessions, sources):
        fill(session, source.captured)
    return sessions


@GPU
@pytest.mark.parametrize("how", ["load_all", "optimal", "each_layer", "in_place"])
def test_models_that_differ_in_their_weights_share_what_was_captured(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, how: str, on_gpu: OnGpu
) -> None:
    twin = copy.deepcopy(tiny)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.5)
    models = [tiny, twin]
    sessions = sessions_of(models, make_plan(tiny, ids, how), ids)
    captures = Captures(sessions[0], [ids], "cuda:0", None)
    captures.add(COLD, WARM)
    with pytest.raises(InvalidInputError, match="left its home"):
        sessions[1].share_captured(sessions[0])
    sessions[0].leave_home()
    sessions[1].share_captured(sessions[0])
    expected = [on_gpu(model, ids) for model in models]
    for index in (1, 0, 0, 1, 1, 0):
        for poison in (False, True):
            if poison:
                sessions[index].evict(poison=True)
            answer = sessions[index].run([ids])[0]
            assert isinstance(answer, torch.Tensor) and torch.equal(answer, expected[index])
            assert sessions[index].last_was_captured
    with pytest.raises(InvalidInputError, match="program"):
        sessions_of([tiny], make_plan(tiny, ids, how), ids)[0].share_captured(sessions[0])
    del sessions
    captures.forget()
    assert machine.target("cuda:0").charged_bytes == 0


@pytest.mark.parametrize("device", ["host:0", pytest.param("cuda:0", marks=GPU)])
@pytest.mark.parametrize(
    "bound, used", [("each_layer", "load_all"), ("load_all", "each_layer"), ("optimal", "optimal")]
)
def test_weights_may_arrive_in_other_groups_than_a_run_is_cut_by(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, device: str, bound: str, used: str
) -> None:
    plan, other = make_plan(tiny, ids, bound), make_plan(tiny, ids, used)
    with deepplan.load(tiny, plan, devices=device, example_inputs=ids) as session:
        expected = session(ids)
        graph = resolve(tiny, ids).captured.graph
        session._runtime.plan_for(1, execution_plan(graph, other, 1))
        for _ in range(3):
            session.evict(poison=True)
            assert torch.equal(session(ids), expected)
            assert session.last_launch == ("operators" if device == "host:0" else "graph")
