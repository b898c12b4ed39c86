"""The server of a serving soak: a process like any other's, whose engine is killed now and then."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from deepplan.export.capture import capture
from deepplan.export.folder import write_folder

COLUMNS = 512
_LAYERS = 4
_SEGMENT_BYTES = 2 << 20  # in which devices give memory to models
_STEADY_S = 5.0  # of serving after a restart, before memory is read


def make_model(seed: int) -> torch.nn.Module:
    """Four products; the same for every process that is given the same seed."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(COLUMNS, COLUMNS) for _ in range(_LAYERS)]
    return torch.nn.Sequential(*layers).eval().requires_grad_(False)


class SoakServer:
    """`deepplan serve` with `instances` of the model, of which `fitting` fit on each device."""

    model = "chain"

    def __init__(self, folder: Path, devices: list[str], instances: int, fitting: int, seed: int) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        captured = capture(make_model(seed), (torch.zeros(1, COLUMNS),), {})
        source = folder / self.model
        write_folder(source, captured.graph, captured.storages, name=self.model, dtype="fp32")
        model_bytes = -(-captured.graph.size_bytes // _SEGMENT_BYTES) * _SEGMENT_BYTES
        working = 0 if devices[0].startswith("host") else 64 << 20  # what runs take beside the weights
        self._command = [
            *(sys.executable, "-m", "deepplan.cli", "serve", f"--model={source}={instances}", "--no-grpc"),
            *(f"--gpus={','.join(devices)}", f"--gpu-memory={fitting * model_bytes + working}B", "--http-port=0"),
            *("--slo=60s", f"--folder={folder / 'plans'}"),
        ]
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        self.url = ""
        self.kills = 0

    async def start(self) -> None:
        """Returns when it is ready."""
        self._process = await asyncio.create_subprocess_exec(*self._command, stderr=asyncio.subprocess.PIPE)
        assert self._process.stderr is not None
        while True:
            line = await self._process.stderr.readline()
            if not line:
                raise RuntimeError(f"the server ended with {await self._process.wait()}")
            event = json.loads(line)
            if event["event"] == "listening":
                self.url = f"http://127.0.0.1:{event['http']}"
            if event["event"] == "ready":
                break
        self._log = asyncio.ensure_future(self._read_on(self._process.stderr))

    async def stop(self) -> int:
        """Tells it to drain; its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        code = await self._process.wait()
        if self._log is not None:
            await self._log
        return code

    async def kill_now_and_then(self, every_s: float, duration_s: float, memory: list[dict[str, int]]) -> None:
        """Kills the engine about every so many seconds until so many are over, and reads in between how much memory
        everything takes. Returns while there is an engine."""
        end = time.perf_counter() + duration_s
        while True:
            pause_s = every_s * self._random.uniform(0.5, 1.5)
            if time.perf_counter() + pause_s > end:
                return
            await asyncio.sleep(pause_s)
            engine = self._engine()
            if engine is None:
                continue
            os.kill(engine, signal.SIGKILL)
            self.kills += 1
            while self._engine() in (None, engine):
                await asyncio.sleep(0.1)
            await asyncio.sleep(_STEADY_S)
            memory.append(self.memory())

    def memory(self) -> dict[str, int]:
        """What the server's process and its engine's hold of the machine's memory by themselves."""
        assert self._process is not None
        engine = self._engine()
        return {
            "server_bytes": _own_bytes(self._process.pid),
            "engine_bytes": 0 if engine is None else _own_bytes(engine),
        }

    def _engine(self) -> int | None:
        """The process that the server started, None while there is none."""
        assert self._process is not None
        try:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    async def _read_on(self, log: asyncio.StreamReader) -> None:
        """Nobody else reads the log: a full pipe would stop the server."""
        with (self._folder / "log").open("wb") as file:
            while line := await log.readline():
                file.write(line)


def _own_bytes(process: int) -> int:
    """Resident memory, without files and memory that is shared."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:")), 0)
