"""`deepplan.client.measure`, as experiments call it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from deepplan.client import compare, connect, measure, run
from deepplan.errors import InvalidInputError, OverloadedError, UnavailableError, UnknownNameError
from deepplan.serving.arrivals import Arrivals, poisson
from deepplan.serving.inference import EngineStatus, Inference, ModelMetadata, TensorData, TensorSpec

INSTANCES = [("bert-0", "bert"), ("bert-1", "bert"), ("gpt-0", "gpt")]


class OnceColdEngine:
    """Each instance's first request is cold; every tenth request of all is refused."""

    def __init__(self, names: Sequence[str] = tuple(name for name, _ in INSTANCES)) -> None:
        self.ready = True
        self.models = {name: ModelMetadata(name, (TensorSpec("x", "FP32", (1, 2)),), ()) for name in names}
        self.sent: dict[str, set[tuple[TensorData, ...]]] = {name: set() for name in names}
        self.calls = 0

    async def infer(self, model: str, inputs: Sequence[TensorData], traceparent: str | None = None) -> Inference:
        self.calls += 1
        if self.calls % 10 == 0:
            raise OverloadedError("late", 1.0)
        cold = not self.sent[model]
        self.sent[model].add(tuple(inputs))
        await asyncio.sleep(0.002)
        return Inference((), gpu=0, cold=cold, batch_size=1, leads_batch=True, queue_ms=0.5, run_ms=2.0)

    async def evict(self, model: str) -> None:
        raise NotImplementedError

    async def status(self) -> EngineStatus:
        raise NotImplementedError


@pytest.mark.parametrize("runner", [asyncio.run, run], ids=["asyncio", "precise"])
def test_an_engine_is_measured_in_a_running_loop(runner: Callable[..., Any], every: Callable[..., Arrivals]) -> None:
    engine, shares = OnceColdEngine(), list[float]()

    async def main() -> Any:
        return await measure(
            engine, every(3, 100, 3), INSTANCES, objective_ms=20_000, workload="by turns", report=shares.append
        )

    report = runner(main())
    total = report.total
    assert (report.source, report.workload, report.objective_ms) == ("measured", "by turns", 20_000)
    assert (total.requests, total.answered, total.refused, total.failed) == (100, 90, 10, 0)
    assert (total.goodput, total.cold_rate) == (0.9, 3 / 90)
    assert (total.queue_p99_ms, total.run_p99_ms) == (0.5, 2.0)
    assert total.p50_ms >= 2
    assert {each.model: each.instances for each in report.models} == {"bert": 2, "gpt": 1}
    assert shares[-1] == 1.0
    assert compare(report, report).p99_percent == 0


def test_inputs_are_ours_where_we_give_them(every: Callable[..., Arrivals]) -> None:
    engine = OnceColdEngine()
    ours = (TensorData("x", "FP32", (1, 2), bytearray(b"12345678")),)
    run(measure(engine, every(1, 9, 3), INSTANCES, inputs={"bert": ours}))
    frozen = (TensorData("x", "FP32", (1, 2), b"12345678"),)
    assert engine.sent["bert-0"] == engine.sent["bert-1"] == {frozen}
    ((made_up,),) = engine.sent["gpt-0"]
    assert len(made_up.data) == 8 and made_up != ours[0]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_is_measured_the_same_way(
    protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals]
) -> None:
    server = serve()

    async def main() -> Any:
        async with connect(server.url(protocol)) as transport:
            return await measure(transport, every(5, 30, 3), INSTANCES)

    report = run(main())
    assert (report.total.answered, report.total.cold_rate, len(server.calls)) == (30, 0.0, 30)


def test_thousands_a_second_are_sent() -> None:
    """In processor time, as nobody knows how many others this machine runs."""
    arrivals = poisson(3000, instance_count=3, duration_s=1.0)
    begun_s = time.process_time()
    report = run(measure(OnceColdEngine(), arrivals, INSTANCES))
    used_s = time.process_time() - begun_s
    assert report.total.answered + report.total.refused == len(arrivals)
    assert used_s / len(arrivals) < 0.5e-3


def test_what_cannot_be_measured_is_refused_before_anything_is_sent(every: Callable[..., Arrivals]) -> None:
    engine = OnceColdEngine()
    with pytest.raises(InvalidInputError, match="objective_ms is 0"):
        run(measure(engine, every(1, 3, 3), INSTANCES, objective_ms=0))
    with pytest.raises(InvalidInputError, match="1 instances and there are 3"):
        run(measure(engine, every(1, 3, 1), INSTANCES))
    with pytest.raises(UnknownNameError, match="'nosuch'"):
        run(measure(engine, every(1, 3, 1), [("nosuch", "m")]))
    engine.ready = False
    with pytest.raises(UnavailableError):
        run(measure(engine, every(1, 3, 3), INSTANCES))
    assert engine.calls == 0
