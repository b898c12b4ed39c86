"""What an engine's process does with errors, seen from the other end of its socket."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from deepplan.errors import DeviceError, OutOfMemoryError, RunError
from deepplan.serving.connection import Connection
from deepplan.serving.engine_process import EngineProcess
from deepplan.serving.messages import Header, error_of


class Failing:
    """An engine that answers every request with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def infer(self, model: str, inputs: object, traceparent: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "ends"),
    [(DeviceError("lost"), True), (OutOfMemoryError("full"), False), (RunError("failed"), False)],
)
def test_only_a_lost_device_ends_it(error: Exception, ends: bool) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        loop = asyncio.get_running_loop()
        arrived: list[Header] = []
        _, server = await loop.create_unix_connection(
            lambda: Connection(lambda header, tensors: arrived.append(header)), sock=here
        )
        process = EngineProcess()
        process._engine.set_result(cast(Any, Failing(error)))  # as after a "start"
        await loop.create_unix_connection(lambda: process.connection, sock=there)
        server.send({"kind": "infer", "id": 7, "model": "m", "traceparent": None})
        while not arrived:
            await asyncio.sleep(0.001)
        assert arrived[0]["id"] == 7
        told = error_of(arrived[0])
        assert type(told) is type(error) and str(told) == str(error)
        if ends:
            await asyncio.wait_for(asyncio.gather(server.lost, process.connection.lost), 10)
        else:
            await asyncio.sleep(0.05)
            assert not server.lost.done()
            server.close()
            await asyncio.wait_for(process.connection.lost, 10)

    asyncio.run(main())
