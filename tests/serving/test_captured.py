"""Instances of a served model share what was captured of one of them."""

import copy

import pytest
import torch

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.engine.filling import fill
from deepplan.engine.profiling_plans import one_group
from deepplan.engine.source import resolve
from deepplan.serving.captured import Sessions, capture_runs

X = {1: torch.ones(1, 64), 2: torch.arange(128.0).reshape(2, 64) / 128}
INPUTS = {size: [x] for size, x in X.items()}


class Inverse(torch.nn.Module):
    """Reads a result back to the host, which no graph holds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.linalg.inv(self.linear.weight + 10 * torch.eye(64, device=x.device))


def instances_of(models: list[torch.nn.Module], device: str) -> Sessions:
    """Sessions of one program for each batch size, on one device; the models differ in their weights."""
    devices = Devices((device,))
    sources = [resolve(model, X[1]) for model in models]
    graphs = {1: sources[0].captured.graph, 2: resolve(models[0], X[2]).captured.graph}
    programs = {size: _core.Program(graph, devices.torch_target) for size, graph in graphs.items()}
    plan, links = one_group(graphs[1]), machine.links(devices)
    instances = []
    for source in sources:
        own = _core.Session("instance", programs[1], links, plan)
        fill(own, source.captured)
        instances.append((((1, own), (2, _core.Session(own, programs[2], links))),))
    return tuple(instances)


@pytest.mark.cuda
def test_every_instance_answers_by_its_own_weights() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 8)).eval()
    models: list[torch.nn.Module] = [model]
    for factor in (2.0, 0.5):
        models.append(copy.deepcopy(model))
        with torch.no_grad():
            for parameter in models[-1].parameters():
                parameter.mul_(factor)
    sessions = instances_of(models, "cuda:0")
    captures = capture_runs(sessions, INPUTS, [Devices(("cuda:0",))], None)
    assert len(captures) == 2  # one for each batch size
    for index in (2, 0, 1, 1, 0, 2):
        for size, session in sessions[index][0]:
            for _ in ("as it is", "warm"):
                answer = session.run([X[size]])[0]
                assert session.last_was_captured and isinstance(answer, torch.Tensor)
                with torch.no_grad():
                    torch.testing.assert_close(answer.cpu(), models[index](X[size]), rtol=1e-4, atol=1e-4)
        if index != 1:
            sessions[index][0][0][1].evict(poison=True)
    del sessions, session
    for runs in captures:
        runs.forget()
    assert machine.target("cuda:0").charged_bytes == 0


@pytest.mark.cuda
def test_what_no_graph_holds_goes_operator_by_operator() -> None:
    models: list[torch.nn.Module] = [Inverse().eval(), Inverse().eval()]
    sessions = instances_of(models, "cuda:0")
    assert capture_runs(sessions, INPUTS, [Devices(("cuda:0",))], None) == ()
    for model, (((_, session), _),) in zip(models, sessions):
        answer = session.run([X[1]])[0]
        assert not session.last_was_captured and isinstance(answer, torch.Tensor)
        torch.testing.assert_close(answer.cpu(), model(X[1]), rtol=1e-4, atol=1e-4)


def test_host_devices_capture_nothing() -> None:
    model = torch.nn.Linear(64, 8).eval()
    sessions = instances_of([model], "host:0")
    assert capture_runs(sessions, INPUTS, [Devices(("host:0",))], None) == ()
    answer = sessions[0][0][1][1].run([X[2]])[0]
    assert isinstance(answer, torch.Tensor) and torch.equal(answer, model(X[2]))
