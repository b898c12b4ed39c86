"""`deepplan serve` as a process of its own, as any user's."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path


class ServingProcess:
    """Serves what `flags` say over HTTP, on a port that is free; its log lies in `folder` in the end."""

    def __init__(self, flags: Sequence[str], folder: Path) -> None:
        self._folder = folder
        self._command = [sys.executable, "-m", "deepplan.cli", "serve", *flags, "--http-port=0", "--no-grpc"]
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Returns when it is ready."""
        self._process = await asyncio.create_subprocess_exec(*self._command, stderr=asyncio.subprocess.PIPE)
        assert self._process.stderr is not None
        said = b""
        while True:
            line = await self._process.stderr.readline()
            if not line:
                raise RuntimeError(f"the server ended with {await self._process.wait()}: {said.decode()}")
            try:
                event = json.loads(line)
            except json.JSONDecodeError:  # a library's warning, or what ends the server
                said = line
                continue
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

    def engine_pid(self) -> int | None:
        """The process that it started for its engine, None while there is none."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    async def _read_on(self, log: asyncio.StreamReader) -> None:
        """Nobody else reads the log: a full pipe would stop the server."""
        with (self._folder / "log").open("wb") as file:
            while line := await log.readline():
                file.write(line)
