"""A server of the Open Inference Protocol v2, HTTP and gRPC on real sockets, that does to requests what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from aiohttp import web

from deepplan.client.grpc_messages import message
from deepplan.serving.arrivals import Arrivals

INPUT = {"name": "x", "datatype": "INT64", "shape": [1, 4]}
REFUSALS = {
    "refuse": (429, grpc.StatusCode.RESOURCE_EXHAUSTED, (("retry-after-ms", "20"),)),
    "too large": (413, grpc.StatusCode.RESOURCE_EXHAUSTED, ()),
    "fail": (500, grpc.StatusCode.INTERNAL, ()),
}


@dataclass
class FakeServer:
    """`what` is asked for each request by its number: answer, cold, untold, refuse, too large, fail, drop, garbage or
    kill."""

    what: Callable[[int], str] = lambda number: "answer"
    delay_s: float = 0.0
    stall_at: int = -1  # the number of the request at which everything stops for `stall_s`
    stall_s: float = 0.0
    ready: bool = True
    metadata: str = ""  # how it describes inputs over HTTP, unless as they are
    token: str | None = None
    tls: tuple[Path, Path] | None = None  # certificate and key
    calls: list[str] = field(default_factory=list)  # the instances called, in order
    tensors: set[bytes] = field(default_factory=set)  # what they were sent
    http_url: str = ""
    grpc_url: str = ""

    def url(self, protocol: str) -> str:
        return self.http_url if protocol == "http" else self.grpc_url

    def wait_for_calls(self, count: int) -> bool:
        """Whether so many came within a minute."""
        end_s = time.monotonic() + 60
        while len(self.calls) < count and time.monotonic() < end_s:
            time.sleep(0.01)
        return len(self.calls) >= count

    async def decide(self, model: str, data: bytes) -> str:
        number = len(self.calls)
        self.calls.append(model)
        self.tensors.add(data)
        if number == self.stall_at:
            time.sleep(self.stall_s)  # the whole server, as it runs on one thread
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        decision = self.what(number)
        if decision == "kill":
            self._stop.set()
            await asyncio.sleep(60)
        return decision

    def start(self) -> None:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        assert started.wait(30)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was told to stop by a request
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.add_routes([web.get("/v2/health/ready", self._http_ready), web.get("/v2/models/{m}", self._http_metadata)])
        app.add_routes([web.post("/v2/models/{m}/infer", self._http_infer)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        context = None
        if self.tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*self.tls)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.http_url = f"http{'s' if self.tls else ''}://localhost:{runner.addresses[0][1]}"
        server = grpc.aio.server()
        handlers = {
            name: _handler(name, getattr(self, f"_grpc_{name}"))
            for name in ("ServerReady", "ModelMetadata", "ModelInfer")
        }
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
        server.add_generic_rpc_handlers((service,))
        if self.tls:
            pair = (self.tls[1].read_bytes(), self.tls[0].read_bytes())
            port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        else:
            port = server.add_insecure_port("127.0.0.1:0")
        self.grpc_url = f"grpc{'s' if self.tls else ''}://localhost:{port}"
        await server.start()
        started.set()
        await self._stop.wait()
        await server.stop(0)
        await runner.cleanup()

    async def _http_ready(self, request: web.Request) -> web.Response:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        return web.Response(status=200 if self.ready else 503)

    async def _http_metadata(self, request: web.Request) -> web.Response:
        if request.match_info["m"].startswith("nosuch"):
            return web.json_response({"error": "unknown model"}, status=404)
        inputs = json.loads(self.metadata) if self.metadata else [INPUT]
        return web.json_response({"name": request.match_info["m"], "inputs": inputs, "outputs": [INPUT]})

    async def _http_infer(self, request: web.Request) -> web.Response:
        body = await request.read()
        length = int(request.headers["Inference-Header-Content-Length"])
        sent = json.loads(body[:length])
        assert sent["parameters"] == {"binary_data_output": True}
        assert [{**tensor, "parameters": None} for tensor in sent["inputs"]] == [{**INPUT, "parameters": None}]
        assert sent["inputs"][0]["parameters"]["binary_data_size"] == len(body) - length
        decision = await self.decide(request.match_info["m"], body[length:])
        if decision in REFUSALS:
            return web.json_response({"error": f"told to {decision}"}, status=REFUSALS[decision][0])
        if decision == "drop":
            assert request.transport is not None
            request.transport.abort()
        if decision == "garbage":
            return web.Response(body=b"[1, 2")
        parameters = {} if decision == "untold" else {"cold": decision == "cold", "queue_ms": 1.5, "run_ms": 4}
        text = json.dumps({"model_name": "m", "parameters": parameters, "outputs": []}).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        return web.Response(body=text + bytes(32), headers=headers, content_type="application/octet-stream")

    async def _grpc_ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.token and ("authorization", f"Bearer {self.token}") not in context.invocation_metadata():
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        return message("ServerReadyResponse")(ready=self.ready)

    async def _grpc_ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name.startswith("nosuch"):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")
        return message("ModelMetadataResponse")(inputs=[INPUT], outputs=[INPUT])

    async def _grpc_ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in request.inputs] == [
            ("x", "INT64", [1, 4])
        ]
        decision = await self.decide(request.model_name, request.raw_input_contents[0])
        if decision in REFUSALS:
            _, code, trailing = REFUSALS[decision]
            await context.abort(code, f"told to {decision}", trailing)
        response = message("ModelInferResponse")()
        if decision != "untold":
            response.parameters.add(key="cold").value.bool_param = decision == "cold"
            response.parameters.add(key="queue_ms").value.double_param = 1.5
            response.parameters.add(key="run_ms").value.int64_param = 4
        return response


def _handler(name: str, method: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=message(f"{name}Request").FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeServer]]:
    """Starts fake servers: `serve(what=..., delay_s=...)`."""
    servers: list[FakeServer] = []

    def start(**behaviour: Any) -> FakeServer:
        servers.append(FakeServer(**behaviour))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def every() -> Callable[..., Arrivals]:
    """Arrivals at even gaps, of instances in turn."""

    def make(gap_ms: float, count: int, instances: int = 1) -> Arrivals:
        order = np.arange(count)
        return Arrivals(
            order * float(gap_ms), (order % instances).astype(np.int32), instances, max(count * gap_ms, 1.0)
        )

    return make
