"""A process that serves models: how it begins, is refused and ends."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from local_lookup import rows_input
from process_lookup import SOON_S, ask, assert_gone, kill, run, until

from deepplan.errors import InvalidInputError, UnavailableError
from deepplan.serving.deployment import Deployment
from deepplan.serving.inference import Inference
from deepplan.serving.process_engine import ProcessEngine


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
