"""An engine's process as its server sees it: from its start until nothing is left of it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from deepplan.errors import UnavailableError
from deepplan.serving.connection import Connection, Received
from deepplan.serving.deployment import Deployment
from deepplan.serving.inference import ModelMetadata, TensorData
from deepplan.serving.kept_file import KeptFile
from deepplan.serving.messages import Header, error_of, metadata_of, read

_EXIT_TIMEOUT_S = 2.0  # between its end of the socket and the process's own
_STDERR = 2


Progress = Callable[[Sequence[ModelMetadata], str, float], None]  # models now registered, what was done, share of all


class EngineChild:
    """One process. `progress` is called while it registers models, `received` with its answers."""

    def __init__(self, received: Received, progress: Progress) -> None:
        self._received = received
        self._progress = progress
        self._connection = Connection(self._dispatch)
        self._process: asyncio.subprocess.Process | None = None
        self._kept: KeptFile | None = None
        self._started: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    @property
    def ready(self) -> bool:
        """Whether it has registered every model, and is there."""
        return not self._connection.lost.done() and self._started.done() and self._started.result() is None

    @property
    def pid(self) -> int | None:
        """Its number, once there is one."""
        return None if self._process is None else self._process.pid

    async def start(self, deployment: Deployment, folder: Path | None, kept: KeptFile) -> None:
        """Returns when it is ready, its models in `kept`. Raises what registration raised there, and UnavailableError
        if it died over it; there is no process then, nor after being cancelled."""
        try:
            self._kept = kept
            await self._spawn(kept.descriptor)
            where = None if folder is None else str(folder)
            for number, model in kept.models.items():
                self.send({"kind": "kept", "number": number, "model": model})
            self.send(
                {
                    "kind": "start",
                    "deployment": dataclasses.asdict(deployment),
                    "folder": where,
                    "kept": kept.descriptor,
                }
            )
            await asyncio.wait((self._started, self._connection.lost), return_when=asyncio.FIRST_COMPLETED)
            if not self._started.done():
                raise UnavailableError(f"the engine's process {await self.ended()} while it registered models")
            error = self._started.result()
            if error is not None:
                raise error
        except BaseException:
            await self.kill()
            raise

    def send(self, header: Header, tensors: Sequence[TensorData] = ()) -> None:
        """See `Connection.send`."""
        self._connection.send(header, tensors)

    async def ended(self) -> str:
        """Waits until the process is gone; how it went."""
        assert self._process is not None
        await asyncio.shield(self._connection.lost)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), _EXIT_TIMEOUT_S)
        await self.kill()
        status = self._process.returncode or 0
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"

    async def close(self, timeout_s: float) -> None:
        """Lets it answer what it was asked; ended by force after the timeout, or at once if it was not ready."""
        if self.ready:
            self.send({"kind": "close"})
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.ended(), timeout_s)
        await self.kill()

    async def kill(self) -> None:
        """Ends the process if it has not ended."""
        self._connection.abort()
        if self._process is not None:
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()

    async def _spawn(self, kept: int) -> None:
        here, there = socket.socketpair()
        with there:
            # In a session of its own: Ctrl-C in a terminal is the server's to act on.
            await asyncio.get_running_loop().create_unix_connection(lambda: self._connection, sock=here)
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "deepplan.serving.engine_process",
                str(there.fileno()),
                pass_fds=(there.fileno(), kept),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=_STDERR,  # what a server prints is for programs to read
                start_new_session=True,
                env=_environment(),
            )

    def _dispatch(self, header: Header, tensors: tuple[TensorData, ...]) -> None:
        kind = read(str, header.get("kind"), "kind")
        if kind == "ready":
            self._started.set_result(None)
        elif kind == "failed":
            self._started.set_result(error_of(header))
        elif kind == "keep":
            if self._kept is not None:
                self._kept.models[read(int, header["number"], "number")] = header["model"]
        elif kind == "progress":
            models = [metadata_of(model) for model in header["models"]]
            self._progress(models, read(str, header["done"], "done"), read(float, header["share"], "share"))
        else:
            self._received(header, tensors)


def _environment() -> dict[str, str]:
    """With it, deepplan and torch are found where this process found them. `-m` alone would look into the folder that
    it runs in first, and does before Python 3.11."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONSAFEPATH": "1",
    }
