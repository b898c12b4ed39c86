"""The sender, with an engine in its own process: nothing waits for a network."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from deepplan.client.connecting import make_targets
from deepplan.client.in_process import InProcessTransport
from deepplan.client.open_loop import send_workload
from deepplan.client.precise_loop import run
from deepplan.client.requests import Requests
from deepplan.client.transport import Status
from deepplan.errors import (
    InvalidInputError,
    OverloadedError,
    RunError,
    UnavailableError,
    UnknownNameError,
)
from deepplan.serving.arrivals import Arrivals, poisson
from deepplan.serving.inference import EngineStatus, Inference, ModelMetadata, TensorData, TensorSpec


class FakeEngine:
    """An engine whose instances all run `infer_one`, which is given the number of the request."""

    def __init__(self, infer_one: Callable[[int], Awaitable[bool]], models: Sequence[str] = ("m",)) -> None:
        self.ready, self.calls = True, list[str]()
        self.models = {name: ModelMetadata(name, (TensorSpec("x", "FP32", (1, 2)),), ()) for name in models}
        self._infer_one = infer_one

    async def infer(self, model: str, inputs: Sequence[TensorData], traceparent: str | None = None) -> Inference:
        self.calls.append(model)
        cold = await self._infer_one(len(self.calls) - 1)
        return Inference((), gpu=0, cold=cold, batch_size=1, leads_batch=True, queue_ms=0.0, run_ms=0.0)

    async def evict(self, model: str) -> None:
        raise NotImplementedError

    async def status(self) -> EngineStatus:
        raise NotImplementedError


def send(engine: FakeEngine, arrivals: Arrivals, **options: object) -> Requests:
    async def main() -> Requests:
        transport = InProcessTransport(engine)
        targets = await make_targets(transport, [(name, "m") for name in engine.models])
        return await send_workload(transport, arrivals, targets, **options)  # type: ignore[arg-type]

    return run(main())


async def at_once(number: int) -> bool:
    return number % 4 == 0


async def never(number: int) -> bool:
    await asyncio.sleep(3600)
    return False


def test_every_request_is_sent_when_it_is_due(every: Callable[..., Arrivals]) -> None:
    engine, begun = FakeEngine(at_once, ["a", "b"]), time.perf_counter()
    requests = send(engine, every(5, 100, 2))
    assert time.perf_counter() - begun >= 0.5
    assert engine.calls == ["a", "b"] * 50
    assert (requests.status == Status.ANSWERED).all()
    assert requests.cold.tolist() == [1, 0, 0, 0] * 25
    assert (requests.send_lag_ms >= 0).all() and (requests.latency_ms >= requests.send_lag_ms - 1e-3).all()
    assert np.median(requests.send_lag_ms) < 20


def test_the_senders_own_lateness_is_measured_and_charged(every: Callable[..., Arrivals]) -> None:
    async def block(number: int) -> bool:
        if number == 10:
            time.sleep(0.3)  # the loop that sends, too
        return False

    requests = send(FakeEngine(block), every(5, 100))
    assert (requests.send_lag_ms > 150).sum() >= 28
    assert (requests.latency_ms > 150).sum() >= 28


def test_what_is_due_beyond_the_cap_fails_and_delays_nothing(every: Callable[..., Arrivals]) -> None:
    engine = FakeEngine(never)
    requests = send(engine, every(5, 20), max_concurrent=5, timeout_s=0.5)
    assert len(engine.calls) == 5
    assert requests.reasons == {"not sent: 5 requests were under way": 15, "no answer in 0.5 s": 5}
    assert (requests.status == Status.FAILED).all()
    assert np.isnan(requests.send_lag_ms).tolist() == [False] * 5 + [True] * 15


def test_a_request_is_given_up_in_time(every: Callable[..., Arrivals]) -> None:
    begun = time.perf_counter()
    requests = send(FakeEngine(never), every(1, 3), timeout_s=0.2)
    assert 0.2 <= time.perf_counter() - begun < 30
    assert requests.reasons == {"no answer in 0.2 s": 3}


def test_what_an_engine_raises_is_told_apart(every: Callable[..., Arrivals]) -> None:
    errors = [OverloadedError("late", 1.0), RunError("broken"), UnavailableError("draining"), ZeroDivisionError("odd")]

    async def fail(number: int) -> bool:
        raise errors[number % 4]

    requests = send(FakeEngine(fail), every(1, 8))
    assert np.bincount(requests.status).tolist() == [0, 2, 6]
    assert requests.reasons == {"RunError: broken": 2, "UnavailableError: draining": 2, "ZeroDivisionError: odd": 2}


def test_reasons_that_never_repeat_are_bounded(every: Callable[..., Arrivals]) -> None:
    async def fail(number: int) -> bool:
        raise RunError(f"{number} " * 1000)

    requests = send(FakeEngine(fail), every(1, 50))
    assert requests.reasons["other reasons"] == 30
    assert len(requests.reasons) == 21 and max(map(len, requests.reasons)) <= 200


def test_a_workload_of_other_instances_is_refused(every: Callable[..., Arrivals]) -> None:
    with pytest.raises(InvalidInputError, match="2 instances and there are 1 targets"):
        send(FakeEngine(at_once), every(1, 3, 2))


def test_an_engine_that_is_not_ready_and_a_model_that_it_does_not_have() -> None:
    engine = FakeEngine(at_once)

    async def ask() -> None:
        await InProcessTransport(engine).metadata("nosuch")

    with pytest.raises(UnknownNameError, match="'nosuch'"):
        run(ask())
    engine.ready = False
    with pytest.raises(UnavailableError):
        InProcessTransport(engine)


def test_the_same_seed_sends_the_same_requests() -> None:
    names = [f"m-{index}" for index in range(5)]
    calls = []
    for seed in (1, 1, 2):
        engine = FakeEngine(at_once, names)
        arrivals = poisson(200, instance_count=5, duration_s=0.5, seed=seed)
        requests = send(engine, arrivals)
        assert requests.times_ms is arrivals.times_ms
        calls.append(engine.calls)
    assert calls[0] == calls[1] != calls[2]


def test_the_workload_lasts_as_long_as_it_says_and_may_be_empty() -> None:
    shares: list[float] = []
    begun = time.perf_counter()
    nothing = Arrivals(np.empty(0), np.empty(0, np.int32), 1, 200.0)
    requests = send(FakeEngine(at_once), nothing, report=shares.append)
    assert time.perf_counter() - begun >= 0.2
    assert (len(requests), requests.elapsed_ms, shares) == (0, 200.0, [1.0])


def test_timers_are_exact_to_less_than_a_millisecond() -> None:
    async def lateness_s() -> list[float]:
        loop, late_s = asyncio.get_running_loop(), []
        for _ in range(200):
            due_s = loop.time() + 1.2e-3
            await asyncio.sleep(due_s - loop.time())
            late_s.append(loop.time() - due_s)
        return late_s

    late_s = run(lateness_s())
    assert 0 <= min(late_s) < 0.5e-3  # epoll would round 1.2 ms up to 2


def test_what_is_left_running_is_cancelled() -> None:
    cancelled = []

    async def wait() -> None:
        try:
            await asyncio.sleep(math.inf)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        return task

    assert run(main()).cancelled() and cancelled == [True]


def test_an_interruption_is_not_lost_in_what_swallows_it() -> None:
    async def main() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt):  # as some callbacks from C do
            time.sleep(0.05)
        await asyncio.sleep(60)

    begun = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert time.perf_counter() - begun < 30
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_loop_runs_with_many_files_open() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] < 2000:
        pytest.skip("no process may have a thousand files open here, so no loop can meet them")
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        resource.setrlimit(resource.RLIMIT_NOFILE, (2000, limit[1]))
        while stack.enter_context(open(os.devnull)).fileno() < 1024:
            pass
        assert run(asyncio.sleep(0.01, "done")) == "done"
