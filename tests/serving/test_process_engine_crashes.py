"""Models served in a process of their own, which is killed or hangs while it serves."""

import asyncio
import dataclasses
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from local_lookup import ROWS, assert_right, rows_input
from process_lookup import SOON_S, ask, assert_gone, kill, run, until

import deepplan
from deepplan.errors import DeviceError, UnavailableError
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.inference import Inference, TensorData
from deepplan.serving.messages import Header
from deepplan.serving.process_engine import ProcessEngine
from deepplan.serving.restarting import RestartPolicy


def test_what_was_under_way_is_answered_after_a_crash(
    deployed: Deployment, store: Path, lookup: torch.nn.Module
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
            assert_right(answer, lookup, *rows)
        assert engine.ready and engine.pid != first
        assert (await engine.status()).restarts == 1
        assert_gone(first or 0)

    run(lambda: ProcessEngine(deployed, store), use)


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
    deployed: Deployment, store: Path, lookup: torch.nn.Module
) -> None:
    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        (call,) = await crash_under(engine, 1)
        await until(lambda: engine.pid not in (None, first))
        kill(engine)
        assert_right(await asyncio.wait_for(call, SOON_S), lookup, 1, 2, 3, 4)
        assert (await engine.status()).restarts == 2

    run(lambda: ProcessEngine(deployed, store, restarting=RestartPolicy(first_delay_s=0.0)), use)


def test_an_engine_that_hangs_is_started_again(
    deployed: Deployment, store: Path, lookup: torch.nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        answer = await asyncio.wait_for(engine.infer("mine-0", rows_input(1, 2, 3, 4)), SOON_S)
        assert_right(answer, lookup, 1, 2, 3, 4)
        assert engine.pid != first and (await engine.status()).restarts == 1
        assert_gone(first)
        assert "answered nothing for 2 s" in caplog.text

    run(lambda: ProcessEngine(deployed, store, restarting=RestartPolicy(silence_s=2.0)), use)


def test_an_engine_in_which_a_run_hangs_is_started_again(
    deployed: Deployment, store: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    overdue_s = [1.9, 2.1]
    received = ProcessEngine._received

    def tampered(engine: ProcessEngine, header: Header, tensors: tuple[TensorData, ...]) -> None:
        if "overdue_s" in header:
            assert header["overdue_s"] == 0
            header["overdue_s"] = overdue_s.pop(0) if overdue_s else 0.0
        received(engine, header, tensors)

    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        assert first is not None
        await until(lambda: engine.pid not in (None, first) and engine.ready)
        assert not overdue_s and (await engine.status()).restarts == 1
        assert_gone(first)
        assert "runs what should have ended 2 s ago" in caplog.text

    monkeypatch.setattr(ProcessEngine, "_received", tampered)
    run(lambda: ProcessEngine(deployed, store, restarting=RestartPolicy(silence_s=2.0)), use)


@pytest.mark.cuda
def test_a_gpu_that_a_call_has_lost_is_had_again(deployed: Deployment, store: Path, lookup: torch.nn.Module) -> None:
    async def use(engine: ProcessEngine) -> None:
        first = engine.pid
        assert_right(await engine.infer("mine-0", rows_input(1, 2, 3, 4)), lookup, 1, 2, 3, 4)
        with pytest.raises(DeviceError, match="its GPU with it"):
            await engine.infer("mine-0", rows_input(1, 2, 3, 10**6))  # a device-side assertion: CUDA is lost with it
        await until(lambda: not engine.ready)
        await until(lambda: engine.ready)
        assert_right(await engine.infer("mine-0", rows_input(5, 6, 7, 8)), lookup, 5, 6, 7, 8)
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


def test_the_next_process_finds_the_models_where_they_were(
    store: Path, lookup: torch.nn.Module, tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    with deepplan.load(lookup, deepplan.plan(lookup, devices=["host:0"])) as session:
        session.save(folder)

    async def use(engine: ProcessEngine) -> None:
        assert_right(await engine.infer("moved", rows_input(1, 2, 3, 4)), lookup, 1, 2, 3, 4)
        pinned_bytes = (await engine.status()).pinned_used_bytes
        shutil.rmtree(folder)  # there is no source to register from any more
        for _ in range(2):
            kill(engine)
            await until(lambda: not engine.ready)
            await until(lambda: engine.ready)
            assert_right(await engine.infer("moved", rows_input(1, 2, 3, 4)), lookup, 1, 2, 3, 4)
            assert (await engine.status()).pinned_used_bytes == pinned_bytes

    run(lambda: ProcessEngine(Deployment(models=(ServedSource(str(folder)),), devices=("host:0",)), store), use)
