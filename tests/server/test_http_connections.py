"""Clients that are slow, leave or break off, over HTTP: places, time limits, and what connections carry."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from deepplan.serving.inference import TensorData

SUM = "/v2/models/sum/infer"
REQUEST = json.dumps(
    {"inputs": [{"name": name, "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]} for name in "ab"]}
)
LARGE = {"parameters": {"binary_data_output": True}, **json.loads(REQUEST)}


def test_requests_beyond_the_limit_are_refused_at_once(serve) -> None:
    server = serve(max_concurrent_requests=1)
    server.engine.delay_s = 30
    first = socket.create_connection(("127.0.0.1", server.server.http_port))
    first.sendall(f"POST {SUM} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(REQUEST)}\r\n\r\n{REQUEST}".encode())
    assert server.engine.started.wait(10)
    status, headers, _ = server.request("POST", SUM, REQUEST)
    assert (status, headers["retry-after"]) == (429, "1")
    first.close()
    assert server.engine.cancelled.wait(10), "a client that leaves frees its place"
    server.engine.delay_s = 0
    deadline = time.monotonic() + 10
    while server.request("POST", SUM, REQUEST)[0] != 200:
        assert time.monotonic() < deadline


def test_unloading_waits_no_longer_than_a_request(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(request_timeout_s=0.1)
    monkeypatch.setattr(server.engine, "evict", lambda model: asyncio.sleep(30))
    status, answer = server.json("POST", "/v2/repository/models/sum/unload")
    assert (status, "no engine has evicted it in 0.1 s" in answer["error"]) == (504, True)
    assert server.request("POST", SUM, REQUEST)[0] == 503


def test_a_request_that_takes_too_long_is_given_up(serve) -> None:
    server = serve(request_timeout_s=0.1)
    server.engine.delay_s = 30
    status, answer = server.json("POST", SUM, json.loads(REQUEST))
    assert (status, "0.1 s" in answer["error"]) == (504, True)
    assert server.engine.cancelled.is_set()


def large_answers(server, monkeypatch: pytest.MonkeyPatch) -> int:
    """Has the engine answer more than what lies on the way to a client that reads nothing; the size of an answer."""
    part = 16 << 20
    outputs = tuple(TensorData(name, "FP32", (4,), bytes(part)) for name in ("sum", "difference"))
    monkeypatch.setattr(server.engine, "_run", lambda *_: outputs)
    return 2 * part


def ask_for_a_large_answer(server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.server.http_port), timeout=10)
    body = json.dumps(LARGE)
    connection.sendall(f"POST {SUM} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    return connection


def test_an_answer_that_is_not_read_keeps_its_place_for_a_while(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(body_timeout_s=1.0, max_concurrent_requests=1)
    large_answers(server, monkeypatch)
    with ask_for_a_large_answer(server) as connection:
        assert server.engine.started.wait(10)
        assert server.request("POST", SUM, REQUEST)[0] == 429
        statistics = server.server.service.statistics.of("sum")
        deadline = time.monotonic() + 10
        while server.server.service.under_way:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert statistics.failures["CANCELED"] == 1 and statistics.success.count == 0
        assert statistics.execution_count == statistics.cold_starts.count == 1, "it was run all the same"
        with pytest.raises(OSError):  # a reset or an end: it depends on what was read
            while connection.recv(1 << 20):
                pass
            raise OSError("it was closed")


def test_draining_waits_for_an_answer_to_be_read(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    size_bytes = large_answers(server, monkeypatch)
    with ask_for_a_large_answer(server) as connection:
        assert server.engine.started.wait(10)
        drained = server.submit(server.server.service.drain(10))
        time.sleep(0.2)
        assert not drained.done()
        received = 0
        while received < size_bytes:
            received += len(connection.recv(1 << 20))
        assert drained.result(10)


def test_a_body_that_does_not_come_is_not_waited_for(serve) -> None:
    server = serve(body_timeout_s=0.1)
    with socket.create_connection(("127.0.0.1", server.server.http_port), timeout=10) as connection:
        connection.sendall(f"POST {SUM} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("begun", [b"", b"GET /v2/health/live HTTP/1.1\r\nHost: "])
@pytest.mark.parametrize("answered", [0, 1])
def test_a_head_that_does_not_come_is_not_waited_for(serve, begun: bytes, answered: int) -> None:
    server = serve(idle_timeout_s=0.2)
    with socket.create_connection(("127.0.0.1", server.server.http_port), timeout=10) as connection:
        for _ in range(answered):
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.sendall(begun)
        assert connection.recv(4096) == b""
    assert server.request("POST", SUM, REQUEST)[0] == 200


@pytest.mark.parametrize("broken", [b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"Content-Length: 5\r\n\r\nab"])
def test_a_body_that_breaks_off_harms_nobody(server, broken: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.server.http_port), timeout=10) as connection:
        connection.sendall(f"POST {SUM} HTTP/1.1\r\nHost: localhost\r\n".encode() + broken)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)
    assert not answer or answer.split()[1] == b"400", answer
    assert server.request("POST", SUM, REQUEST)[0] == 200


@pytest.mark.parametrize(
    ("expected", "version", "continued"),
    [
        ("100-continue", "1.1", True),
        ("100-Continue", "1.1", True),
        ("100-continue", "1.0", False),
        ("x\xff", "1.1", False),
    ],
)
@pytest.mark.parametrize(("path", "status"), [(SUM, b"200"), ("/nothing", b"404")])
def test_a_client_that_asks_first_is_told_to_go_on(
    server, expected: str, version: str, continued: bool, path: str, status: bytes
) -> None:
    head = f"POST {path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(REQUEST)}\r\n"
    with socket.create_connection(("127.0.0.1", server.server.http_port), timeout=10) as connection:
        connection.sendall(f"{head}Expect: {expected}\r\n\r\n".encode("latin-1"))
        answer = connection.recv(25) if continued else b""
        assert answer == b"HTTP/1.1 100 Continue\r\n\r\n" * continued
        connection.sendall(REQUEST.encode())
        assert connection.makefile("rb").readline().split()[1] == status
