"""Runs that are captured once answer as the module does; what cannot be captured still runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pytest
import torch

import deepplan
from deepplan.engine import machine
from deepplan.engine.capturing import COLD, WARM

MakePlan = Callable[..., deepplan.Plan]
OnGpu = Callable[..., torch.Tensor]
GPU = pytest.mark.cuda


class Inverse(torch.nn.Module):
    """An operator that reads a result back to the host, which no capture allows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(self.linear(x) + 10 * torch.eye(8, device=x.device))


class Noisy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + torch.rand_like(x)


def test_a_launch_that_does_not_exist_is_refused(tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan) -> None:
    with pytest.raises(deepplan.UnknownNameError, match="graph and operators"):
        deepplan.load(tiny, make_plan(tiny, ids), devices="host:0", example_inputs=ids, launch="whole")


def test_host_devices_are_called_operator_by_operator(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan
) -> None:
    with deepplan.load(tiny, make_plan(tiny, ids), devices="host:0", example_inputs=ids) as session:
        assert (session.launch, session.launch_refusal, session.graph_bytes) == ("operators", None, 0)
        assert torch.equal(session(ids), tiny(ids))
        assert session.last_launch == "operators"


@GPU
@pytest.mark.parametrize("how", ["load_all", "pipeswitch", "optimal", "each_layer", "in_place"])
def test_cold_and_warm_runs_are_captured(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, how: str, on_gpu: OnGpu
) -> None:
    expected = on_gpu(tiny, ids)
    with deepplan.load(tiny, make_plan(tiny, ids, how), devices="cuda:0", example_inputs=ids) as session:
        assert session.launch == "graph" and session.launch_refusal is None
        assert not session.is_resident
        for given in (ids, ids.cuda(), ids.pin_memory()):
            for _ in range(3):
                session.evict(poison=True)
                assert torch.equal(session(given), expected)
                assert session.last_launch == "graph"
                assert torch.equal(session(given), expected)
                assert session.last_launch == "graph"


@GPU
def test_other_inputs_give_other_outputs(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, on_gpu: OnGpu
) -> None:
    with deepplan.load(tiny, make_plan(tiny, ids), devices="cuda:0", example_inputs=ids) as session:
        answers = [session((ids + i) % 1000) for i in range(5)]
        for i, answer in enumerate(answers):  # none was overwritten by the next
            assert torch.equal(answer, on_gpu(tiny, (ids + i) % 1000))


@GPU
def test_a_model_that_cannot_be_captured_runs_all_the_same(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, on_gpu: OnGpu
) -> None:
    inverse, x = Inverse().eval(), torch.ones(8, 8)
    with deepplan.load(inverse, make_plan(inverse, x), devices="cuda:0", example_inputs=x) as session:
        assert session.launch == "operators" and session.launch_refusal
        for _ in range(2):
            session.evict(poison=True)
            torch.testing.assert_close(session(x), on_gpu(inverse, x))
            assert not session._runtime.last_was_captured
    with deepplan.load(tiny, make_plan(tiny, ids), devices="cuda:0", example_inputs=ids) as session:
        assert session.launch == "graph"  # the failed capture left nothing behind,
        torch.rand(1, device="cuda")  # not even in torch
        assert torch.equal(session(ids), on_gpu(tiny, ids))


@GPU
def test_random_numbers_are_not_captured(make_plan: MakePlan) -> None:
    noisy, x = Noisy().eval(), torch.ones(8, 8)
    with deepplan.load(noisy, make_plan(noisy, x), devices="cuda:0", example_inputs=x) as session:
        assert "random" in str(session.launch_refusal)
        assert not torch.equal(session(x), session(x))


@GPU
def test_operators_can_be_asked_for(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, on_gpu: OnGpu
) -> None:
    plan = make_plan(tiny, ids)
    with deepplan.load(tiny, plan, devices="cuda:0", example_inputs=ids, launch="operators") as session:
        assert session.launch == "operators"
        assert torch.equal(session(ids), on_gpu(tiny, ids))
        assert not session._runtime.last_was_captured


@GPU
def test_a_captured_cold_start_waits_for_its_weights(make_plan: MakePlan, on_gpu: OnGpu) -> None:
    """Any wait that is left out shows in the answers, before and after a capture that replaces the first one."""
    wide = torch.nn.Sequential(*(torch.nn.Linear(4096, 4096) for _ in range(3))).eval()
    x = torch.ones(1, 4096)
    with deepplan.load(wide, make_plan(wide, x, "each_layer"), devices="cuda:0", example_inputs=x) as session:
        expected = on_gpu(wide, x)
        for _ in range(2):
            assert session.launch_refusal is None
            for group in (-1, 0, 1, 2):
                session(x)
                session.evict(poison=True)  # of a model that is resident: elsewhere there is nothing to poison
                session._runtime.drop_wait(group)
                assert torch.equal(session(x), expected) == (group < 0)
                assert session._runtime.last_was_captured
            session._runtime.drop_wait(-1)
            session._captures.forget()  # type: ignore[union-attr]
            session._captures.add(COLD, WARM)  # type: ignore[union-attr]


@GPU
def test_timelines_show_what_was_captured(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, on_gpu: OnGpu
) -> None:
    with deepplan.load(tiny, make_plan(tiny, ids, "each_layer"), devices="cuda:0", example_inputs=ids) as session:
        session(ids)
        cold = session.timeline()
        assert session._runtime.last_was_captured
        assert len(cold.groups) == len(session.plan.routes) and cold.total_ms > 0
        assert all(layer.end_ms >= layer.start_ms for layer in cold.layers)
        warm = session.timeline(cold=False)
        assert session._runtime.last_was_captured
        assert not warm.groups and warm.total_ms > 0
        assert torch.equal(session(ids), on_gpu(tiny, ids))


@GPU
def test_another_plan_is_captured_anew(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, on_gpu: OnGpu
) -> None:
    with deepplan.load(tiny, make_plan(tiny, ids, "each_layer"), devices="cuda:0", example_inputs=ids) as session:
        session.rebind(make_plan(tiny, ids, "in_place"))
        session.evict(poison=True)
        assert torch.equal(session(ids), on_gpu(tiny, ids))
        assert session._runtime.last_was_captured


@pytest.fixture
def budget() -> Iterator[Callable[[int], None]]:
    """`budget(bytes)` for weights on the first GPU, for one test."""
    target = machine.target("cuda:0")
    target.trim()
    yield target.set_budget
    target.set_budget(0)


@GPU
def test_models_that_do_not_fit_together_come_back_without_a_new_capture(
    make_plan: MakePlan, budget: Callable[[int], None], on_gpu: OnGpu
) -> None:
    """Memory stays flat over many cold starts in random order, every one of them captured."""
    chooser = random.Random(0)
    models = [torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 512)).eval() for _ in range(4)]
    x = torch.ones(2, 512)
    plans = [make_plan(model, x, "each_layer") for model in models]
    expected = [on_gpu(model, x) for model in models]
    sessions = [deepplan.load(m, p, devices="cuda:0", example_inputs=x) for m, p in zip(models, plans)]
    machine.target("cuda:0").evict_idle()  # nobody has a place of his own any more
    budget(machine.target("cuda:0").charged_bytes + 3 * sessions[0].device_bytes)
    for session in sessions:
        session(x)
    torch.cuda.synchronize()
    free_bytes = torch.cuda.mem_get_info()[0]
    cold = 0
    for _ in range(300):
        index = chooser.randrange(len(sessions))
        cold += not sessions[index].is_resident
        assert torch.equal(sessions[index](x), expected[index])
        assert sessions[index]._runtime.last_was_captured
    torch.cuda.synchronize()
    assert cold > 20
    assert torch.cuda.mem_get_info()[0] >= free_bytes
    for session in sessions:
        session.close()
    assert machine.target("cuda:0").charged_bytes == 0


@GPU
def test_captured_models_of_one_gpu_take_turns_from_many_threads(make_plan: MakePlan, on_gpu: OnGpu) -> None:
    """Their activations share one memory: a run that did not wait for another would see them."""
    models = [torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(6))).eval() for _ in range(3)]
    x = torch.ones(64, 256)
    sessions = [deepplan.load(m, make_plan(m, x), devices="cuda:0", example_inputs=x) for m in models]
    expected = [on_gpu(model, x) for model in models]
    wrong: list[str] = []

    def call(index: int) -> None:
        stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            for repeat in range(30):
                if repeat % 3 == 0:
                    sessions[index].evict()
                answer = sessions[index](x)
                stream.synchronize()
                if not torch.equal(answer, expected[index]):
                    wrong.append(f"model {index}, call {repeat}")

    threads = [threading.Thread(target=call, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions:
        session.close()
    assert not wrong
