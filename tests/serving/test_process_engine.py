"""Models served in a process of their own, which is killed."""

import asyncio
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import deepplan
from deepplan.errors import (
    DeviceError,
    InvalidInputError,
    OverloadedError,
    RunError,
    UnavailableError,
    UnknownNameError,
)
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.inference import Inference, TensorData
from deepplan.serving.process_engine import ProcessEngine
from deepplan.serving.restarting import RestartPolicy

ROWS, COLUMNS = 64, 128
SOON_S = 60.0  # for what is only late if it never comes


class Lookup(torch.nn.Module):
    """Rows of a table, mixed; fails for a row that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(ROWS, COLUMNS)
        self.mix = torch.nn.Linear(COLUMNS, COLUMNS)
        self.example_inputs = torch.zeros(1, 4, dtype=torch.int64)

    def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        mixed = self.mix(self.table(rows))
        return {"mixed": mixed, "sums": mixed.sum(-1)}


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return Lookup().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def deployed(module: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Two instances of an exported folder, as another process can read it."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    with deepplan.load(module, deepplan.plan(module, devices=["host:0"])) as session:
        session.save(folder)
    return Deployment(models=(ServedSource(str(folder), instances=2),), devices=("host:0",))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where plans are kept, so that only the first start makes one."""
    return tmp_path_factory.mktemp("store")


@asynccontextmanager
async def serving(engine: ProcessEngine) -> AsyncIterator[ProcessEngine]:
    try:
        await engine.start()
        yield engine
    finally:
        await asyncio.wait_for(engine.close(), SOON_S)


def run(engine: Callable[[], ProcessEngine], use: Callable[[ProcessEngine], Awaitable[None]]) -> None:
    """Also sees that nothing of the engine is left."""

    async def main() -> None:
        async with serving(engine()) as started:
            pid = started.pid
            await use(started)
            pid = started.pid or pid
        assert started.pid is None and not started.ready
        if pid is not None:
            assert_gone(pid)

    threads, files = threading.active_count(), open_files()
    asyncio.run(main())
    # The thread in which asyncio waited for the process has no more to do, but may not have come to its end.
    asyncio.run(until(lambda: threading.active_count() <= threads))
    assert open_files() <= files


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def assert_gone(pid: int) -> None:
    """Not even a zombie."""
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def kill(engine: ProcessEngine) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)


async def until(reached: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not reached():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), SOON_S)


def rows_input(*rows: int) -> list[TensorData]:
    return [TensorData("rows", "INT64", (1, len(rows)), np.array(rows, np.int64).tobytes())]


def assert_right(answer: Inference, module: torch.nn.Module, *rows: int) -> None:
    expected = module(torch.tensor([rows]))
    assert [output.name for output in answer.outputs] == list(expected)
    for output in answer.outputs:
        given = torch.frombuffer(bytearray(output.data), dtype=torch.float32).reshape(output.shape)
        torch.testing.assert_close(given, expected[output.name])


def test_requests_are_answered_as_in_this_process(deployed: Deployment, store: Path, module: torch.nn.Module) -> None:
    async def use(engine: ProcessEngine) -> None:
        assert engine.ready and list(engine.models) == ["mine-0", "mine-1"]
        spec = engine.models["mine-1"].inputs[0]
        assert (spec.name, spec.datatype, spec.shape) == ("rows", "INT64", (1, 4))
        for cold in (True, False):
            answer = await engine.infer("mine-1", rows_input(3, 1, 4, 1), "00-1-2-01")
            assert_right(answer, module, 3, 1, 4, 1)
            assert answer.cold is cold and answer.run_ms > 0
        status = await engine.status()
        assert status.gpus[0].resident == ("mine-1",) and status.restarts == 0 and status.pinned_used_bytes > 0
        await engine.evict("mine-1")
        assert (await engine.infer("mine-1", rows_input(3, 1, 4, 1))).cold
        asked = [(index % ROWS, 1, 2, 3) for index in range(300)]
        answers = await asyncio.gather(*(engine.infer("mine-0", rows_input(*rows)) for rows in asked))
        for rows, answer in zip(asked, answers):
            assert_right(answer, module, *rows)

    run(lambda: ProcessEngine(deployed, store), use)


def test_errors_come_back_as_they_were_raised(deployed: Deployment, store: Path, module: torch.nn.Module) -> None:
    async def use(engine: ProcessEngine) -> None:
        with pytest.raises(UnknownNameError, match="mine-7"):
            await engine.infer("mine-7", [])
        with pytest.raises(UnknownNameError, match="mine-7"):
            await engine.evict("mine-7")
        with pytest.raises(RunError, match="mine-0 failed"):
            await engine.infer("mine-0", rows_input(1, 2, 3, ROWS))
        with pytest.raises(InvalidInputError, match="size of tensor rows"):
            await engine.infer("mine-0", [TensorData("rows", "INT64", (1, 4), b"short")])
        assert_right(await engine.infer("mine-1", rows_input(1, 2, 3, 4)), module, 1, 2, 3, 4)

    run(lambda: ProcessEngine(deployed, store), use)


def test_what_would_be_late_is_refused_with_when_to_come_again(deployed: Deployment, store: Path) -> None:
    async def use(engine: ProcessEngine) -> None:
        with pytest.raises(OverloadedError, match="takes longer by itself than its objective") as refused:
            await engine.infer("mine-0", rows_input(1, 2, 3, 4))
        assert refused.value.retry_after_s == math.inf

    strict = dataclasses.replace(deployed, objective_ms=1e-3)
    run(lambda: ProcessEngine(strict, store), use)


def test_who_gives_up_is_given_up_there(deployed: Deployment, store: Path, module: torch.nn.Module) -> None:
    async def use(engine: ProcessEngine) -> None:
        calls = [asyncio.ensure_future(engine.infer("mine-0", rows_input(1, 2, 3, 4))) for _ in range(2000)]
        await asyncio.sleep(0)
        for call in calls[5:]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, Inference) for answer in answers[:5])
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[5:])
        assert (await engine.status()).gpus[0].queued == 0
        assert_right(await engine.infer("mine-0", rows_input(4, 3, 2, 1)), module, 4, 3, 2, 1)

    run(lambda: ProcessEngine(deployed, store), use)


def test_what_was_under_way_is_answered_after_a_crash(
    deployed: Deployment, store: Path, module: torch.nn.Module
) -> None:
    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        asked = [(index % ROWS, 3, 2, 1) for index in range(1000)]
        calls = [
            asyncio.ensure_future(engine.infer(f"mine-{index % 2}", rows_input(*rows)))
            for index, rows in enumerate(asked)
        ]
        await until(lambda: any(call.done() for call in calls))
        kill(engine)
        await until(lambda: not engine.ready)
        assert not all(call.done() for call in calls)
        with pytest.raises(UnavailableError, match="try again"):
            await engine.infer("mine-0", rows_input(1, 2, 3, 4))
        calls[-1].cancel()
        await until(lambda: engine.pid is None)
        status = await engine.status()
        assert not status.gpus and list(engine.models) == ["mine-0", "mine-1"]
        await engine.evict("mine-0")
        answers = await asyncio.wait_for(asyncio.gather(*calls[:-1]), SOON_S)
        for rows, answer in zip(asked, answers):
            assert_right(answer, module, *rows)
        assert engine.ready and engine.pid != first
        assert (await engine.status()).restarts == 1
        assert_gone(first or 0)

    run(lambda: ProcessEngine(deployed, store), use)


def ask(engine: ProcessEngine, count: int) -> list[asyncio.Future[Inference]]:
    return [asyncio.ensure_future(engine.infer("mine-0", rows_input(1, 2, 3, 4))) for _ in range(count)]


async def crash_under(engine: ProcessEngine, count: int) -> list[asyncio.Future[Inference]]:
    """So many requests, of which none was answered when the process was killed."""
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    calls = ask(engine, count)
    await asyncio.sleep(0)
    kill(engine)
    return calls


def test_a_request_is_asked_of_two_processes_at_most(deployed: Deployment, store: Path) -> None:
    async def use(engine: ProcessEngine) -> None:
        calls = await crash_under(engine, 3000)
        await until(lambda: not engine.ready)
        await until(lambda: engine.ready)
        kill(engine)
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), SOON_S)
        lost = [answer for answer in answers if isinstance(answer, UnavailableError)]
        assert lost and "as did the one before it" in str(lost[0])
        assert all(isinstance(answer, (Inference, UnavailableError)) for answer in answers)

    run(lambda: ProcessEngine(deployed, store), use)


def test_a_crash_while_models_are_registered_again_costs_a_request_nothing(
    deployed: Deployment, store: Path, module: torch.nn.Module
) -> None:
    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        (call,) = await crash_under(engine, 1)
        await until(lambda: engine.pid not in (None, first))
        kill(engine)
        assert_right(await asyncio.wait_for(call, SOON_S), module, 1, 2, 3, 4)
        assert (await engine.status()).restarts == 2

    run(lambda: ProcessEngine(deployed, store, restarting=RestartPolicy(first_delay_s=0.0)), use)


def test_an_engine_that_hangs_is_started_again(
    deployed: Deployment, store: Path, module: torch.nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        answer = await asyncio.wait_for(engine.infer("mine-0", rows_input(1, 2, 3, 4)), SOON_S)
        assert_right(answer, module, 1, 2, 3, 4)
        assert engine.pid != first and (await engine.status()).restarts == 1
        assert_gone(first)
        assert "answered nothing for 2 s" in caplog.text

    run(lambda: ProcessEngine(deployed, store, restarting=RestartPolicy(silence_s=2.0)), use)


@pytest.mark.cuda
def test_a_gpu_that_a_call_has_lost_is_had_again(deployed: Deployment, store: Path, module: torch.nn.Module) -> None:
    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        assert_right(await engine.infer("mine-0", rows_input(1, 2, 3, 4)), module, 1, 2, 3, 4)
        with pytest.raises(DeviceError, match="its GPU with it"):
            await engine.infer("mine-0", rows_input(1, 2, 3, 10**6))  # a device-side assertion: CUDA is lost with it
        await until(lambda: not engine.ready)
        await until(lambda: engine.ready)
        assert_right(await engine.infer("mine-0", rows_input(5, 6, 7, 8)), module, 5, 6, 7, 8)
        assert engine.pid != first and (await engine.status()).restarts == 1

    run(lambda: ProcessEngine(dataclasses.replace(deployed, devices=("0",)), store), use)


def test_an_engine_that_is_there_is_left_alone(deployed: Deployment, store: Path) -> None:
    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        await asyncio.sleep(3.5)  # several signs of life
        assert engine.pid == first and (await engine.status()).restarts == 0

    run(lambda: ProcessEngine(deployed, store, restarting=RestartPolicy(silence_s=2.0)), use)


def test_an_engine_that_crashes_too_often_is_given_up(
    deployed: Deployment, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(engine: ProcessEngine) -> None:
        (call,) = await crash_under(engine, 1)
        with pytest.raises(UnavailableError, match="given up"):
            await asyncio.wait_for(call, SOON_S)
        with pytest.raises(UnavailableError, match="given up"):
            await engine.infer("mine-0", rows_input(1, 2, 3, 4))
        assert "SIGKILL; start the server again" in caplog.text
        assert (await engine.status()).restarts == 0

    run(lambda: ProcessEngine(deployed, store, restarting=RestartPolicy(max_crashes=1)), use)


def test_what_cannot_be_registered_is_refused_by_start(deployed: Deployment, store: Path) -> None:
    small = dataclasses.replace(deployed, gpu_memory_bytes=1000)
    reports: list[tuple[str, float]] = []

    async def main() -> None:
        engine = ProcessEngine(small, store)
        assert not engine.ready and not engine.models
        with pytest.raises(UnavailableError, match="being registered"):
            await engine.infer("mine-0", [])
        with pytest.raises(InvalidInputError, match=r"takes [0-9]+ bytes of a GPU; of 1000 bytes there"):
            await engine.start(lambda done, share: reports.append((done, share)))
        assert engine.pid is None and not engine.ready
        await engine.close()
        with pytest.raises(UnavailableError, match="closed"):
            await engine.start()

    asyncio.run(main())
    assert [share for _, share in reports] == [1.0] and reports[0][0].startswith("mine: 2 in host memory")


@pytest.mark.parametrize("end", ["cancel", "close", "kill"])
def test_a_start_that_is_ended_leaves_nothing(deployed: Deployment, store: Path, end: str) -> None:
    async def main() -> None:
        engine = ProcessEngine(deployed, store)
        starting = asyncio.ensure_future(engine.start())
        await until(lambda: engine.pid is not None)
        pid = engine.pid
        assert pid is not None
        if end == "cancel":
            starting.cancel()
        elif end == "kill":
            kill(engine)
        else:
            await engine.close()
        with pytest.raises(asyncio.CancelledError if end == "cancel" else UnavailableError):
            await asyncio.wait_for(starting, SOON_S)
        assert_gone(pid)
        assert (await engine.status()).restarts == 0
        await engine.close()

    asyncio.run(main())


def test_closing_answers_what_is_under_way(deployed: Deployment, store: Path) -> None:
    async def use(engine: ProcessEngine) -> None:
        calls = ask(engine, 500)
        await asyncio.sleep(0)
        await asyncio.gather(engine.close(), engine.close())
        assert all(isinstance(answer, Inference) for answer in await asyncio.gather(*calls))
        with pytest.raises(UnavailableError, match="closed"):
            await engine.infer("mine-0", rows_input(1, 2, 3, 4))

    run(lambda: ProcessEngine(deployed, store), use)


def test_a_process_that_hangs_is_closed_too(deployed: Deployment, store: Path) -> None:
    async def use(engine: ProcessEngine) -> None:
        assert engine.pid is not None
        for ignored in (signal.SIGINT, signal.SIGTERM):  # they are the server's to act on
            os.kill(engine.pid, ignored)
        assert os.getsid(engine.pid) == engine.pid
        assert await engine.infer("mine-0", rows_input(1, 2, 3, 4))
        os.kill(engine.pid, signal.SIGSTOP)
        (call,) = ask(engine, 1)
        await asyncio.sleep(0)
        await engine.close()
        with pytest.raises(UnavailableError, match="closed"):
            await call

    run(lambda: ProcessEngine(deployed, store, close_timeout_s=0.2), use)


SERVER = """
import asyncio, json, sys
from pathlib import Path
from deepplan.planning.records import from_json
from deepplan.serving.deployment import Deployment
from deepplan.serving.process_engine import ProcessEngine

async def main():
    engine = ProcessEngine(from_json(Deployment, json.loads(sys.argv[1]), "deployment"), Path(sys.argv[2]))
    starting = asyncio.ensure_future(engine.start())
    while engine.pid is None:
        await asyncio.sleep(0.01)
    print(engine.pid, flush=True)
    await starting
    print("ready", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_the_process_does_not_outlive_its_server(deployed: Deployment, store: Path) -> None:
    text = json.dumps(dataclasses.asdict(deployed))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", SERVER, text, str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert server.stdout.readline() == "ready\n"
        server.kill()
    asyncio.run(until(lambda: not is_running(pid)))


def is_running(pid: int) -> bool:
    """A zombie, which nobody here may reap, is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_next_process_finds_the_models_where_they_were(
    store: Path, module: torch.nn.Module, tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    with deepplan.load(module, deepplan.plan(module, devices=["host:0"])) as session:
        session.save(folder)

    async def use(engine: ProcessEngine) -> None:
        assert_right(await engine.infer("moved", rows_input(1, 2, 3, 4)), module, 1, 2, 3, 4)
        pinned_bytes = (await engine.status()).pinned_used_bytes
        shutil.rmtree(folder)  # there is no source to register from any more
        for _ in range(2):
            kill(engine)
            await until(lambda: not engine.ready)
            await until(lambda: engine.ready)
            assert_right(await engine.infer("moved", rows_input(1, 2, 3, 4)), module, 1, 2, 3, 4)
            assert (await engine.status()).pinned_used_bytes == pinned_bytes

    run(lambda: ProcessEngine(Deployment(models=(ServedSource(str(folder)),), devices=("host:0",)), store), use)
