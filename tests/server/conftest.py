"""A server in a thread of its own, in front of an engine that computes real answers and misbehaves when told to."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from deepplan.errors import UnknownNameError
from deepplan.server.server import Server
from deepplan.server.settings import ServerSettings
from deepplan.serving.inference import (
    ITEM_SIZE_BYTES,
    EngineStatus,
    GpuStatus,
    Inference,
    ModelMetadata,
    TensorData,
    TensorSpec,
)

SHAPE = (2, 3)
NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def doubled(datatype: str, data: bytes) -> bytes:
    """Twice each element; a bool is turned over."""
    if datatype == "BF16":  # the upper half of an FP32
        wide = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32) * 2
        return (wide.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    values = np.frombuffer(data, NUMPY[datatype])
    return (~values if datatype == "BOOL" else values + values).tobytes()


class FakeEngine:
    """Serves `twice_TYPE` (y is twice x) and `sum` (the sum and the difference of a and b)."""

    def __init__(self) -> None:
        a, b = (TensorSpec(name, "FP32", (4,)) for name in "ab")
        outputs = tuple(TensorSpec(name, "FP32", (4,)) for name in ("sum", "difference"))
        self.models = {"sum": ModelMetadata("sum", (a, b), outputs)}
        for datatype in ITEM_SIZE_BYTES:
            name = f"twice_{datatype.lower()}"
            x, y = (TensorSpec(tensor, datatype, SHAPE) for tensor in "xy")
            self.models[name] = ModelMetadata(name, (x,), (y,))
        self.ready = True
        self.delay_s = 0.0
        self.error: Exception | None = None
        self.status_error: Exception | None = None
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self.traceparents: list[str | None] = []
        self.evicted: list[str] = []
        self.resident: set[str] = set()

    async def infer(self, model: str, inputs: Sequence[TensorData], traceparent: str | None = None) -> Inference:
        self.traceparents.append(traceparent)
        self.started.set()
        if model not in self.models:
            raise UnknownNameError(f"there is no model {model!r}")
        if self.error is not None:
            raise self.error
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        cold = model not in self.resident
        self.resident.add(model)
        return Inference(self._run(model, inputs), 0, cold, 1, True, queue_ms=0.5, run_ms=20.0 if cold else 2.0)

    def _run(self, model: str, inputs: Sequence[TensorData]) -> tuple[TensorData, ...]:
        expected = self.models[model].inputs
        assert [(i.name, i.datatype, i.shape) for i in inputs] == [(s.name, s.datatype, s.shape) for s in expected]
        if model == "sum":
            a, b = (np.frombuffer(tensor.data, np.float32) for tensor in inputs)
            values = {"sum": a + b, "difference": a - b}
            return tuple(TensorData(name, "FP32", (4,), value.tobytes()) for name, value in values.items())
        (x,) = inputs
        return (TensorData("y", x.datatype, x.shape, doubled(x.datatype, bytes(x.data))),)

    async def evict(self, model: str) -> None:
        self.evicted.append(model)
        self.resident.discard(model)

    async def status(self) -> EngineStatus:
        if self.status_error is not None:
            raise self.status_error
        gpus = tuple(
            GpuStatus(f"GPU-{i}", 10 << 30, used << 30, resident, queued=i)
            for i, (used, resident) in enumerate([(3, tuple(sorted(self.resident))), (0, ())])
        )
        return EngineStatus(gpus, 64 << 30, 5 << 30, 7, {"pcie": 1000, "nvlink": 200, "zero_copy": 30}, restarts=1)


class RunningServer:
    """A server that answers, its engine, and requests to it without any client library between."""

    def __init__(self, engine: FakeEngine, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self.server = server
        self._loop = loop

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.server.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.server.grpc_port}"

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """A future of what `coroutine` gives in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def request(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, content: object = None, **headers: str) -> tuple[int, Any]:
        """Status and parsed body; `content` is sent as JSON."""
        body = None if content is None else json.dumps(content)
        status, _, answer = self.request(method, path, body, headers)
        return status, json.loads(answer) if answer else None


Serve = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """`serve(token="x")` starts a server with these settings, on ports that are free."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    running: list[RunningServer] = []

    def start(**settings: Any) -> RunningServer:
        async def begin() -> RunningServer:
            engine = FakeEngine()
            server = Server(engine, ServerSettings(**{"http_port": 0, "grpc_port": None, **settings}))
            await server.start()
            return RunningServer(engine, server, loop)

        started: RunningServer = asyncio.run_coroutine_threadsafe(begin(), loop).result(20)
        running.append(started)
        return started

    yield start
    for started in running:
        started.submit(started.server.stop()).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.fixture(scope="module")
def shared_server(serve: Serve) -> RunningServer:
    return serve(grpc_port=0)


@pytest.fixture
def server(shared_server: RunningServer) -> RunningServer:
    """One that other tests of the module use too; its engine is itself again before each."""
    engine = shared_server.engine
    engine.ready, engine.delay_s, engine.error, engine.status_error = True, 0.0, None, None
    engine.started.clear()
    engine.cancelled.clear()
    return shared_server
