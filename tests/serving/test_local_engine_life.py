"""How an engine in this process begins, is changed and ends, and what it refuses and leaves."""

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import torch
from local_lookup import Lookup, assert_right, deployment, rows_input, run, serving

import deepplan
from deepplan import _core
from deepplan.engine import machine
from deepplan.errors import InvalidInputError, UnavailableError, UnknownNameError
from deepplan.serving.deployment import ServedSource
from deepplan.serving.local_engine import LocalEngine


def test_before_and_after_nothing_is_answered(module: torch.nn.Module, tmp_path: Path) -> None:
    async def main() -> None:
        engine = LocalEngine(deployment("host:0"), tmp_path)
        assert not engine.ready and not engine.models
        with pytest.raises(UnavailableError):
            await engine.infer("lookup-0", [])
        await engine.start()
        with pytest.raises(UnknownNameError, match="lookup-7"):
            await engine.infer("lookup-7", [])
        await engine.close()
        with pytest.raises(UnavailableError):
            await engine.infer("lookup-0", rows_input(1, 2, 3, 4))

    asyncio.run(main())


HALTS: tuple[Callable[[LocalEngine], Coroutine[None, None, None]], ...] = (
    lambda engine: engine.close(),
    lambda engine: engine.change(gpu_memory_bytes=None, objective_ms=None),
)


@pytest.mark.parametrize("halt", HALTS, ids=("close", "change"))
def test_nothing_is_taken_while_it_halts(
    module: torch.nn.Module, tmp_path: Path, halt: Callable[[LocalEngine], Coroutine[None, None, None]]
) -> None:
    async def main() -> None:
        async with serving(deployment("host:0"), tmp_path) as engine:
            halting = asyncio.ensure_future(halt(engine))
            await asyncio.sleep(0)
            assert not engine.ready
            calls = [engine.infer(name, rows_input(1, 2, 3, 4)) for name in engine.models]  # at once: it ends soon
            answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
            assert all(isinstance(answer, UnavailableError) for answer in answers)
            await halting

    asyncio.run(main())


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_registration_ends_early(module: torch.nn.Module, tmp_path: Path, how: str) -> None:
    served = tuple(ServedSource("lookup", name=f"m{number}") for number in range(9))

    async def main() -> None:
        engine, loop = LocalEngine(deployment("host:0", models=served), tmp_path), asyncio.get_running_loop()
        first = asyncio.Event()

        def report(done: str, share: float) -> None:
            loop.call_soon_threadsafe(first.set)

        starting = asyncio.ensure_future(engine.start(report))
        await first.wait()
        if how == "cancelled":
            starting.cancel()
        else:
            await engine.close()
        await asyncio.wait((starting,))
        assert starting.cancelled() is (how == "cancelled")
        assert len(engine.models) < 9 and not engine.ready
        await engine.close()
        assert not engine.hosted

    asyncio.run(main())


def test_who_waits_as_it_is_closed_is_told(module: torch.nn.Module, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(deployment("host:0"), tmp_path) as engine:
            calls = [asyncio.ensure_future(engine.infer("lookup-0", rows_input(1, 2, 3, 4))) for _ in range(50)]
            await asyncio.sleep(0)
            await engine.close()
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, UnavailableError)

    asyncio.run(main())


def test_python_can_end_with_an_engine_left_open(tmp_path: Path) -> None:
    program = """
import asyncio, pathlib
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.local_engine import LocalEngine

async def main():
    global engine
    engine = LocalEngine(Deployment(models=(ServedSource("mine"),), devices=("host:0",)), pathlib.Path("plans"))
    await engine.start()

asyncio.run(main())
"""
    module = Lookup().eval().requires_grad_(False)
    with deepplan.load(module, deepplan.plan(module, devices=["host:0"])) as session:
        session.save(tmp_path / "mine")
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": (ServedSource("lookup"), ServedSource("lookup", name="other", dtype="tf32"))}, "fp32 and in tf32"),
        ({"gpu_memory_bytes": 1000}, "takes [0-9]+ bytes of a GPU; of 1000 bytes there"),
    ],
)
def test_what_cannot_be_served_is_refused(
    module: torch.nn.Module, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    async def main() -> None:
        async with serving(dataclasses.replace(deployment("host:0"), **change), tmp_path):  # type: ignore[arg-type]
            pass

    with pytest.raises(InvalidInputError, match=said):
        asyncio.run(main())


def test_what_models_gave_back_is_free(module: torch.nn.Module, tmp_path: Path) -> None:
    free_bytes = _core.memory_info("host:0")[0]

    async def use(engine: LocalEngine) -> None:
        for _ in range(2):
            assert engine.gpu_bytes == pytest.approx(0.9 * free_bytes, abs=1 << 20)
            for name in engine.models:
                await engine.infer(name, rows_input(1, 2, 3, 4))
            assert machine.target("host:0").reserved_bytes >= 8 << 20
            await engine.change(gpu_memory_bytes=None, objective_ms=None)

    run(deployment("host:0"), tmp_path, use)


def test_limits_can_be_changed_between_requests(module: torch.nn.Module, tmp_path: Path) -> None:
    async def use(engine: LocalEngine) -> None:
        for name in engine.models:
            await engine.infer(name, rows_input(1, 2, 3, 4))
        assert len((await engine.status()).gpus[0].resident) == 3
        call = asyncio.ensure_future(engine.infer("lookup-0", rows_input(1, 2, 3, 4)))
        await asyncio.sleep(0)
        with pytest.raises(InvalidInputError, match="1 requests are under way"):
            await engine.change(gpu_memory_bytes=6 << 20, objective_ms=None)
        await call
        await engine.change(gpu_memory_bytes=6 << 20, objective_ms=None)
        for name in engine.models:
            answer = await engine.infer(name, rows_input(1, 2, 3, 4))
            assert answer.cold
            assert_right(answer, module, 1, 2, 3, 4)
        assert len((await engine.status()).gpus[0].resident) == 1

    run(deployment("host:0"), tmp_path, use)


def test_no_more_memory_is_taken_than_is_given(module: torch.nn.Module, tmp_path: Path) -> None:
    """Two instances are measured in turn, though only one may be there when they are served."""

    async def use(engine: LocalEngine) -> None:
        pool = machine.target("host:0")
        for given_bytes in (4 << 20, 8 << 20, 4 << 20):
            await engine.change(gpu_memory_bytes=given_bytes, objective_ms=None)
            for name in engine.models:
                await engine.infer(name, rows_input(1, 2, 3, 4))
                assert 0 < pool.reserved_bytes <= engine.gpu_bytes == given_bytes

    run(deployment("host:0", gpu_memory_bytes=4 << 20), tmp_path, use)
