"""A server in a process of its own, from its first line of log to its exit, and what draining means."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

grpc = pytest.importorskip("grpc")

from deepplan.server.grpc_messages import message  # noqa: E402

INFER = "/inference.GRPCInferenceService/ModelInfer"
PROGRAM = """
import asyncio, json, sys
from deepplan.errors import UnavailableError
from deepplan.server.log_lines import write_log
from deepplan.server.server import Server
from deepplan.server.settings import ServerSettings
from deepplan.serving.inference import Inference, ModelMetadata

class Engine:
    ready = True
    models = {"sleep": ModelMetadata("sleep", (), ())}

    async def infer(self, model, inputs, traceparent=None):
        await asyncio.sleep(SLEEP_S)
        return Inference((), 0, False, 1, True, 0.0, 1.0)

    async def status(self):
        raise UnavailableError("it says nothing")

settings = json.loads(sys.argv[1])
SLEEP_S = settings.pop("sleep_s")
write_log(sys.stderr)
asyncio.run(Server(Engine(), ServerSettings(http_port=0, grpc_port=0, **settings)).run_until_signal())
"""


class Process:
    """One that serves; its log is read as it is written."""

    def __init__(self, **settings: Any) -> None:
        command = [sys.executable, "-c", PROGRAM, json.dumps(settings)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []
        first = self.process.stderr.readline()
        self.lines.append(json.loads(first))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(json.loads(line))

    def request(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.lines[0]["http"], timeout=20)
        try:
            connection.request(method, path, '{"inputs": []}' if method == "POST" else None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def under_way(self) -> int:
        return json.loads(self.request("GET", "/status.json")[1])["under_way"]

    def signal(self) -> None:
        os.kill(self.process.pid, signal.SIGTERM)

    def exit_code(self) -> int:
        code = self.process.wait(20)
        self._reader.join(20)
        return code


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def one(**settings: Any) -> Process:
        started.append(Process(**settings))
        return started[-1]

    yield one
    for process in started:
        process.process.kill()
        process.process.wait()


class Calls:
    """A request over HTTP and one over gRPC, both under way; `outcomes` are their statuses, or None for an error."""

    def __init__(self, process: Process) -> None:
        self.outcomes: dict[str, int | str | None] = {}
        self._of = process
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._http, self._grpc)]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: process.under_way() == 2)

    def _http(self) -> None:
        try:
            self.outcomes["http"] = self._of.request("POST", "/v2/models/sleep/infer")[0]
        except (OSError, http.client.HTTPException):
            self.outcomes["http"] = None

    def _grpc(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._of.lines[0]['grpc']}") as channel:
            request = message("ModelInferRequest")(model_name="sleep").SerializeToString()
            sent = channel.unary_unary(INFER).future(request, timeout=20)
            self.outcomes["grpc"] = sent.code().name

    def wait(self) -> dict[str, int | str | None]:
        for thread in self._threads:
            thread.join(20)
        return self.outcomes


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_an_idle_server_stops_at_once(start) -> None:
    process = start(sleep_s=0)
    assert process.lines[0]["event"] == "listening"
    assert process.lines[0]["host"] == "127.0.0.1"
    process.signal()
    assert process.exit_code() == 0


def test_what_runs_is_finished_and_nothing_more_is_taken(start) -> None:
    process = start(sleep_s=2)
    calls = Calls(process)
    process.signal()
    wait_until(lambda: process.request("GET", "/v2/health/ready")[0] == 503)
    assert process.request("GET", "/v2/health/live")[0] == 200
    assert process.request("GET", "/v2/models/sleep/ready")[0] == 503
    status, answer = process.request("POST", "/v2/models/sleep/infer")
    assert (status, json.loads(answer)) == (503, {"error": "the server is shutting down"})
    assert calls.wait() == {"http": 200, "grpc": "OK"}
    assert process.exit_code() == 0
    assert [(line["event"], line["status"]) for line in process.lines[1:]] == [
        ("infer", 503),
        ("infer", 200),
        ("infer", 200),
    ]
    assert all(line["time"].endswith("Z") and line["level"] for line in process.lines)


@pytest.mark.parametrize("why", ["it took too long", "a second signal came"])
def test_draining_ends_where_it_must(start, why: str) -> None:
    process = start(sleep_s=60, drain_timeout_s=0.2 if why == "it took too long" else 60)
    calls = Calls(process)
    process.signal()
    if why == "a second signal came":
        wait_until(lambda: process.request("GET", "/v2/health/ready")[0] == 503)
        process.signal()
    assert process.exit_code() == 0
    assert calls.wait()["http"] is None
    assert calls.outcomes["grpc"] in ("UNAVAILABLE", "CANCELLED")
    (stopping,) = [line for line in process.lines if line["event"] == "stopping"]
    assert (stopping["level"], stopping["under_way"]) == ("WARNING", 2)
    assert [line["status"] for line in process.lines if line["event"] == "infer"] == [499, 499]
