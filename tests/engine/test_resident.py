"""How fast a module is with everything in device memory, by one graph where there are graphs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.engine.resident import Resident, measure_resident
from deepplan.engine.source import resolve
from deepplan.errors import InvalidInputError


class CountingNet(torch.nn.Module):
    """Counts its calls, and notes what they run in."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(8, 4)
        self.example_inputs = torch.ones(2, 8)
        self.calls: list[tuple[bool, bool]] = []  # in tf32, in inference mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            uses_tf32 = torch.backends.cuda.matmul.fp32_precision == "tf32"
            self.calls.append((uses_tf32, torch.is_inference_mode_enabled()))
        return self.fc(x)


class WaitingNet(torch.nn.Module):
    """Asks for a number of the device's in the middle of a call, which no graph can."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(8, 4)
        self.example_inputs = torch.ones(2, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_compiling():
            x.sum().item()
        return self.fc(x)


@pytest.mark.parametrize("dtype", ["fp32", "tf32"])
def test_a_host_device_runs_the_module_itself(dtype: str) -> None:
    module = CountingNet().eval()
    source = resolve(module, dtype=dtype, keep=False)
    module.calls.clear()
    resident = measure_resident(module, source, Devices(("host:0",)))
    assert resident.how == "eager" and not resident.replayed and resident.replayed_outputs is None
    assert resident.latency_ms > 0
    assert len(module.calls) >= 50  # it is fast: there is time for all repeats
    assert set(module.calls) == {(dtype == "tf32", True)}
    assert torch.equal(resident.outputs[0], module(module.example_inputs))


def test_a_latency_is_that_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    from deepplan.engine import resident

    module = CountingNet().eval()
    source = resolve(module, dtype="fp32", keep=False)
    module.calls.clear()
    ticks = iter(tick * 0.25 for tick in range(10**4))  # s, at each look at the clock
    monkeypatch.setattr(resident.time, "perf_counter", ticks.__next__)
    assert measure_resident(module, source, Devices(("host:0",))).latency_ms == 250
    assert len(module.calls) == 1 + 2 + 1 + 8  # outputs, one to learn how long it takes, and 2 s of repeats


def test_without_inputs_a_module_is_not_called(tmp_path: Path, tiny: torch.nn.Module, ids: torch.Tensor) -> None:
    torch.export.save(torch.export.export(tiny, (ids,)), tmp_path / "tiny.pt2")
    source = resolve(tmp_path / "tiny.pt2", keep=False)
    with pytest.raises(InvalidInputError, match="tiny has no example inputs"):
        measure_resident(tiny, source, Devices(("host:0",)))


def test_only_a_replay_is_called_one() -> None:
    assert Resident(1.0, "graph replay").replayed
    assert not Resident(1.0, "eager").replayed and not Resident(1.0, "warm").replayed


def test_synchronizing_waits_for_the_target() -> None:
    machine.synchronize(Devices(("host:0",)))  # no stream has work: it returns


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["fp32", "tf32", "bf16"])
def test_a_replayed_graph_returns_what_the_module_returns(tiny: torch.nn.Module, ids: torch.Tensor, dtype: str) -> None:
    from deepplan.engine.precision import prepare

    module, _, _ = prepare(tiny, (), {}, dtype)
    source = resolve(module, ids, dtype=dtype, keep=False)
    devices = Devices(("cuda:0",))
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before_bytes = torch.cuda.memory_reserved()
    resident = measure_resident(module, source, devices)
    assert resident.how == "graph replay" and 0 < resident.latency_ms < 100
    assert resident.replayed_outputs is not None
    torch.testing.assert_close(resident.replayed_outputs, resident.outputs, rtol=1e-2, atol=1e-2)
    on_target = copy.deepcopy(module).to("cuda:0")
    torch.testing.assert_close(resident.outputs[0], on_target(ids.to("cuda:0")), rtol=1e-2, atol=1e-2)
    assert next(module.parameters()).device.type == "cpu"
    del resident, on_target
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before_bytes + (40 << 20)  # cuBLAS keeps a workspace


@pytest.mark.cuda
def test_what_cannot_be_captured_is_called_instead() -> None:
    module = WaitingNet().eval()
    source = resolve(module, dtype="fp32", keep=False)
    resident = measure_resident(module, source, Devices(("cuda:0",)))
    assert resident.how == "eager" and resident.replayed_outputs is None and resident.latency_ms > 0
    assert torch.zeros(1, device="cuda:0").add(1).item() == 1  # the device goes on
