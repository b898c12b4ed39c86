"""An engine that serves `local_lookup.Lookup` in a process of its own: what tests of `ProcessEngine` share."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from local_lookup import rows_input

from deepplan.serving.inference import Inference
from deepplan.serving.process_engine import ProcessEngine

SOON_S = 60.0  # for what is only late if it never comes


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


def ask(engine: ProcessEngine, count: int) -> list[asyncio.Future[Inference]]:
    return [asyncio.ensure_future(engine.infer("mine-0", rows_input(1, 2, 3, 4))) for _ in range(count)]
