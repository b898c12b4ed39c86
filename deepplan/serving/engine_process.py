"""The process that an engine runs in, started by `deepplan.serving.engine_child`: the number of a socket is all it is
given on its command line; what to serve comes over that.

It ends when it is told to, when a GPU fails, as that answers nothing in this process any more, and at once when the
other end of the socket is gone: nobody is left to answer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepplan.errors import DeepPlanError, DeviceError, InvalidInputError
from deepplan.planning.records import from_json
from deepplan.serving.connection import Connection
from deepplan.serving.deployment import Deployment
from deepplan.serving.inference import TensorData
from deepplan.serving.kept_memory import KeptMemory
from deepplan.serving.local_engine import LocalEngine
from deepplan.serving.messages import Header, answer_header, error_header, read

logger = logging.getLogger("deepplan.serving")

_CUT_OFF = 3  # the exit status of a process whose connection has ended


class EngineProcess:
    """Does what messages ask of one `LocalEngine`. Those with an `id` are answered once, unless cancelled."""

    def __init__(self) -> None:
        self.connection = Connection(self._received)
        self._loop = asyncio.get_running_loop()
        self._engine: asyncio.Future[LocalEngine] = self._loop.create_future()
        self._closing = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._announced = 0
        self._kept: dict[int, Any] = {}

    async def run(self) -> None:
        """Registers, serves until told to close, and still answers what came before that."""
        engine = await self._engine
        try:
            await engine.start(self._report)
        except Exception as error:
            _log_defect(error)
            self.connection.send({"kind": "failed", **error_header(error)})
            return
        self.connection.send({"kind": "ready"})
        await self._closing.wait()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await engine.close()

    def _keep(self, number: int, model: Any) -> None:
        """Called in the thread that registers."""
        message = {"kind": "keep", "number": number, "model": model}
        self._loop.call_soon_threadsafe(self.connection.send, message)

    def _report(self, done: str, share: float) -> None:
        """Called in the thread that registers."""
        self._loop.call_soon_threadsafe(self._announce, done, share)

    def _announce(self, done: str, share: float) -> None:
        models = list(self._engine.result().models.values())
        new = [dataclasses.asdict(model) for model in models[self._announced :]]
        self._announced = len(models)
        self.connection.send({"kind": "progress", "done": done, "share": share, "models": new})

    def _received(self, header: Header, tensors: tuple[TensorData, ...]) -> None:
        kind = read(str, header.get("kind"), "kind")
        if kind == "start":
            folder = header.get("folder")
            deployment = from_json(Deployment, header.get("deployment"), "deployment")
            memory = KeptMemory(read(int, header.get("kept"), "kept"), self._kept, self._keep)
            self._engine.set_result(LocalEngine(deployment, None if folder is None else Path(folder), memory))
        elif kind == "kept":
            self._kept[read(int, header.get("number"), "number")] = header.get("model")
        elif kind == "close":
            self._closing.set()
        elif kind == "cancel":
            task = self._tasks.pop(read(int, header.get("id"), "id"), None)
            if task is not None:
                task.cancel()
        else:
            number = read(int, header.get("id"), "id")
            self._tasks[number] = self._loop.create_task(self._answer(number, kind, header, tensors))

    async def _answer(self, number: int, kind: str, header: Header, tensors: Sequence[TensorData]) -> None:
        try:
            answer, outputs = await self._do(kind, header, tensors)
            self.connection.send({"kind": "done", "id": number, **answer}, outputs)
        except Exception as error:
            _log_defect(error)
            self.connection.send({"kind": "error", "id": number, **error_header(error)})
            if type(error) is DeviceError:  # not OutOfMemoryError, which passes
                logger.critical("%s; the process ends, for another to go on", error)
                self.connection.close()
        finally:
            self._tasks.pop(number, None)

    async def _do(
        self, kind: str, header: Header, tensors: Sequence[TensorData]
    ) -> tuple[Header, Sequence[TensorData]]:
        engine = self._engine.result()
        if kind == "infer":
            answer = await engine.infer(header["model"], tensors, header["traceparent"])
            return {"answer": answer_header(answer)}, answer.outputs
        if kind == "evict":
            await engine.evict(header["model"])
            return {}, ()
        if kind == "ping":
            return {"overdue_s": engine.overdue_s}, ()
        if kind == "status":
            return {"status": dataclasses.asdict(await engine.status())}, ()
        raise InvalidInputError(f"a message of unknown kind {kind!r:.40}")


def _log_defect(error: Exception) -> None:
    """What was not raised on purpose goes on as a type and a message; how it came about is told here."""
    if not isinstance(error, DeepPlanError):
        logger.error("the engine failed unexpectedly", exc_info=error)


def _leave(lost: asyncio.Future[None]) -> None:
    os._exit(_CUT_OFF)


async def serve(descriptor: int) -> None:
    """Serves whoever is at the other end of the socket; returns when told to close."""
    process = EngineProcess()
    connection = process.connection
    connection.lost.add_done_callback(_leave)
    with socket.socket(fileno=descriptor) as end:
        end.set_inheritable(False)  # the other end sees this process's end, whatever it started
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=end)
        await process.run()
        connection.lost.remove_done_callback(_leave)
        connection.close()
        await connection.lost


def main() -> None:
    """Signals that end a server reach all its processes; when this one is to end is for the server to say."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
