"""A server whose models are still being registered: what it answers, and how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("aiohttp")

PROGRAM = """
import asyncio, json, resource, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from deepplan.errors import InvalidInputError, UnavailableError
from deepplan.server.log_lines import write_log
from deepplan.server.process import serve_until_signal
from deepplan.server.settings import ServerSettings
from deepplan.serving.inference import Inference, ModelMetadata

settings = json.loads(sys.argv[1])
REGISTER_S, FAIL, CLOSE = settings.pop("register_s", 0), settings.pop("fail", False), "closed"
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (settings.pop("files", most), most))

class Engine:
    ready = False
    models = {}

    async def start(self, report):
        with ThreadPoolExecutor(1) as executor:  # which waits for its thread, whatever becomes of this coroutine
            await asyncio.get_running_loop().run_in_executor(executor, self._register, report)
        self.ready = True

    def _register(self, report):
        self.models = {"one": ModelMetadata("one", (), ())}
        report("one: 1 in host memory", 0.5)
        time.sleep(REGISTER_S)
        if FAIL:
            raise InvalidInputError("two is no model")
        self.models = {name: ModelMetadata(name, (), ()) for name in ("one", "two")}
        report("two: 1 in host memory", 1.0)

    async def infer(self, model, inputs, traceparent=None):
        if not self.ready:
            raise UnavailableError("not yet")
        return Inference((), 0, False, 1, True, 0.0, 1.0)

    async def status(self):
        raise UnavailableError("it says nothing")

    async def close(self):
        print(CLOSE, flush=True)

write_log(sys.stderr)
try:
    asyncio.run(serve_until_signal(Engine(), ServerSettings(http_port=0, grpc_port=0, **settings)))
except InvalidInputError as error:
    sys.exit(str(error))
"""


class Process:
    """One that registers models and serves; its log is read line by line."""

    def __init__(self, **settings: Any) -> None:
        command = [sys.executable, "-c", PROGRAM, json.dumps(settings)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []

    def read_until(self, event: str) -> dict[str, Any]:
        """The first line of that event that has not been read yet."""
        for line in self.process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"{event} is not in {self.lines}")

    def request(self, method: str, path: str) -> tuple[int, bytes]:
        (port,) = [line["http"] for line in self.lines if line["event"] == "listening"]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request(method, path, '{"inputs": []}' if method == "POST" else None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self) -> tuple[int, str, list[str]]:
        """The exit code, stdout, and the rest of stderr; it must end now."""
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err.splitlines()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def one(**settings: Any) -> Process:
        started.append(Process(**settings))
        return started[-1]

    yield one
    for process in started:
        process.process.kill()
        process.process.communicate()


def test_a_server_listens_registers_serves_and_ends(start) -> None:
    process = start()
    process.read_until("ready")
    assert [line["event"] for line in process.lines] == ["listening", "registered", "registered", "ready"]
    assert [line.get("what") for line in process.lines[1:3]] == ["one: 1 in host memory", "two: 1 in host memory"]
    assert [line["share"] for line in process.lines[1:3]] == [0.5, 1]
    assert all(line["took_s"] >= 0 for line in process.lines[1:]) and process.lines[-1]["models"] == 2
    assert process.request("GET", "/v2/health/ready")[0] == 200
    assert process.request("POST", "/v2/models/two/infer")[0] == 200
    process.process.send_signal(signal.SIGTERM)
    code, out, _ = process.end()
    assert (code, out) == (0, "closed\n")


def test_a_server_is_live_and_not_ready_before(start) -> None:
    process = start(register_s=60)
    process.read_until("registered")
    assert process.request("GET", "/v2/health/live")[0] == 200
    assert process.request("GET", "/v2/health/ready")[0] == 503
    assert process.request("POST", "/v2/models/two/infer")[0] == 503
    assert process.request("GET", "/")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_registration(start, number: signal.Signals) -> None:
    process = start(register_s=60)
    process.read_until("registered")
    begin = time.perf_counter()
    process.process.send_signal(number)
    code, _, lines = process.end()
    assert time.perf_counter() - begin < 10
    (stopping,) = [json.loads(line) for line in lines]
    assert (code, stopping["event"], stopping["registered"]) == (0, "stopping", 1)


def test_what_registration_raises_ends_the_server(start) -> None:
    process = start(register_s=0.2, fail=True)
    process.read_until("registered")
    assert process.end() == (1, "closed\n", ["two is no model"])


def test_where_it_cannot_listen_nothing_is_registered(start) -> None:
    process = start(host="192.0.2.1", token="secret")  # of a network for examples
    code, out, lines = process.end()
    assert (code, out) == (1, "closed\n")
    assert len(lines) == 1 and lines[0].startswith("cannot listen on 192.0.2.1:0: ")


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "0.0.0.0", "token": "x"}, False),
    ],
)
def test_a_server_that_anybody_may_use_says_so(start, settings: dict[str, str], warned: bool) -> None:
    process = start(**settings)
    process.read_until("listening")
    assert [line["level"] for line in process.lines if line["event"] == "unprotected"] == ["WARNING"] * warned


def test_more_clients_may_connect_than_files_are_allowed_at_first(start) -> None:
    process = start(files=64)
    process.read_until("ready")
    (port,) = [line["http"] for line in process.lines if line["event"] == "listening"]
    connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(200)]
    for connection in connections:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for connection in connections:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.close()
