"""The server of a serving soak, whose engine is killed now and then."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import torch

from deepplan.export.capture import capture
from deepplan.export.folder import write_folder
from serving_process import ServingProcess

COLUMNS = 512
_LAYERS = 4
_SEGMENT_BYTES = 2 << 20  # in which devices give memory to models
_STEADY_S = 5.0  # of serving after a restart, before memory is read


def make_model(seed: int) -> torch.nn.Module:
    """Four products; the same for every process that is given the same seed."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(COLUMNS, COLUMNS) for _ in range(_LAYERS)]
    return torch.nn.Sequential(*layers).eval().requires_grad_(False)


class SoakServer(ServingProcess):
    """Serves `instances` of the model, of which `fitting` fit on each device."""

    model = "chain"

    def __init__(self, folder: Path, devices: list[str], instances: int, fitting: int, seed: int) -> None:
        self._random = random.Random(seed)
        self.kills = 0
        captured = capture(make_model(seed), (torch.zeros(1, COLUMNS),), {})
        source = folder / self.model
        write_folder(source, captured.graph, captured.storages, name=self.model, dtype="fp32")
        model_bytes = -(-captured.graph.size_bytes // _SEGMENT_BYTES) * _SEGMENT_BYTES
        working = 0 if devices[0].startswith("host") else 256 << 20  # more than runs take beside the weights
        flags = [
            *(f"--model={source}={instances}", f"--gpus={','.join(devices)}", "--slo=60s"),
            *(f"--gpu-memory={fitting * model_bytes + working}B", f"--folder={folder / 'plans'}"),
        ]
        super().__init__(flags, folder)

    async def kill_now_and_then(self, every_s: float, duration_s: float, memory: list[dict[str, int]]) -> None:
        """Kills the engine about every so many seconds until so many are over, and reads in between how much memory
        everything takes. Returns while there is an engine."""
        end = time.perf_counter() + duration_s
        while True:
            pause_s = every_s * self._random.uniform(0.5, 1.5)
            if time.perf_counter() + pause_s > end:
                return
            await asyncio.sleep(pause_s)
            engine = self.engine_pid()
            if engine is None:
                continue
            os.kill(engine, signal.SIGKILL)
            self.kills += 1
            while self.engine_pid() in (None, engine):
                await asyncio.sleep(0.1)
            await asyncio.sleep(_STEADY_S)
            memory.append(self.memory())

    def memory(self) -> dict[str, int]:
        """What the server's process and its engine's hold of the machine's memory by themselves."""
        engine = self.engine_pid()
        return {"server_bytes": _own_bytes(self.pid), "engine_bytes": 0 if engine is None else _own_bytes(engine)}


def _own_bytes(process: int) -> int:
    """Resident memory, without files and memory that is shared."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:")), 0)
