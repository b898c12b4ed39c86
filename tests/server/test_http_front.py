"""What is not inference, over HTTP: health, descriptions, errors and their statuses, sizes, pages, token, traces."""

from __future__ import annotations

import gzip
import json
import logging
import math
import zlib

import pytest

from deepplan.errors import InvalidInputError, OverloadedError, RunError, UnavailableError, UnknownNameError

SUM = "/v2/models/sum/infer"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
REQUEST = json.dumps(
    {"inputs": [{"name": name, "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]} for name in "ab"]}
)


def gzipped(body: bytes) -> bytes:
    """Without the time, or parameters would have other names in each process that collects the tests."""
    return gzip.compress(body, mtime=0)


def test_health(server) -> None:
    assert server.request("GET", "/v2/health/live")[0] == 200
    assert server.request("GET", "/v2/health/ready")[0] == 200
    assert server.request("GET", "/v2/models/sum/ready")[0] == 200
    assert server.request("GET", "/v2/models/sum/versions/1/ready")[0] == 200
    assert server.request("GET", "/v2/models/sum/versions/2/ready")[0] == 404
    assert server.request("GET", "/v2/models/none/ready")[0] == 404


def test_while_models_are_registered_the_server_lives_and_is_not_ready(server) -> None:
    server.engine.ready = False
    assert server.request("GET", "/v2/health/live")[0] == 200
    assert server.request("GET", "/v2/health/ready")[0] == 503
    status, answer = server.json("POST", "/v2/models/later/infer", {})
    assert (status, answer) == (503, {"error": "no model 'later' is known yet; try again when the server is ready"})


def test_no_model_is_ready_while_the_server_is_not(server) -> None:
    server.engine.ready = False
    assert server.request("GET", "/v2/models/sum/ready")[0] == 503
    assert server.request("GET", "/v2/models/none/ready")[0] == 503
    _, index = server.json("POST", "/v2/repository/index", {})
    assert {(entry["state"], entry["reason"]) for entry in index} == {("UNAVAILABLE", "the server is not ready")}
    assert server.json("POST", "/v2/repository/index", {"ready": True}) == (200, [])
    server.engine.ready = True
    assert server.request("GET", "/v2/models/sum/ready")[0] == 200


def test_the_configuration_of_a_model(server) -> None:
    status, config = server.json("GET", "/v2/models/sum/config")
    assert status == 200
    assert (config["name"], config["max_batch_size"]) == ("sum", 0)
    assert config["input"] == [{"name": n, "data_type": "TYPE_FP32", "dims": [4]} for n in "ab"]
    assert [output["name"] for output in config["output"]] == ["sum", "difference"]


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (UnknownNameError("no such model"), 404, None),
        (InvalidInputError("not so"), 400, None),
        (OverloadedError("too late", 0.01), 429, "1"),
        (OverloadedError("too late", 2.1), 429, "3"),
        (OverloadedError("never", math.inf), 429, None),
        (UnavailableError("not now"), 503, None),
        (RunError("the model failed"), 500, None),
    ],
)
def test_each_error_of_the_engine_has_its_status(server, error: Exception, status: int, retry_after: str) -> None:
    server.engine.error = error
    answered, headers, body = server.request("POST", SUM, REQUEST)
    assert (answered, headers.get("retry-after")) == (status, retry_after)
    assert json.loads(body) == {"error": str(error)}


def test_a_defect_is_logged_and_not_shown(server, caplog: pytest.LogCaptureFixture) -> None:
    server.engine.error = KeyError("secret")
    status, _, body = server.request("POST", SUM, REQUEST)
    assert status == 500
    assert b"secret" not in body
    assert "secret" in caplog.text


def test_a_body_is_read_no_further_than_the_model_can_need(serve) -> None:
    server = serve(max_body_bytes=1000)
    assert server.request("POST", SUM, REQUEST)[0] == 200
    status, answer = server.json("POST", SUM, {"inputs": [], "id": "x" * 1000})
    assert (status, "1000 bytes" in answer["error"]) == (413, True)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_small_model_takes_small_bodies_only(server, chunked: bool) -> None:
    body = REQUEST.encode() + b" " * 100_000
    status, _, answer = server.request("POST", SUM, iter([body] * 5) if chunked else body)
    assert (status, json.loads(answer).keys()) == (413, {"error"})


def test_json_of_more_than_a_model_can_need_is_refused_even_where_its_tensors_are_large(serve) -> None:
    from deepplan.serving.inference import ModelMetadata, TensorSpec

    server = serve()
    (x, y) = (TensorSpec(name, "FP64", (1 << 14,)) for name in "xy")
    server.engine.models["twice_long"] = ModelMetadata("twice_long", (x,), (y,))
    body = b'{"inputs": [' + b" " * (1 << 20) + b"]}"
    assert len(body) < 65_536 + (64 + 8) * (1 << 14) + 1
    status, _, answer = server.request("POST", "/v2/models/twice_long/infer", body + bytes(70_000))
    assert (status, b"binary data" in answer) == (413, True)


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzipped(REQUEST.encode()), 200),
        ("GZIP", gzipped(REQUEST.encode()), 200),
        ("deflate", zlib.compress(REQUEST.encode()), 200),
        ("identity", REQUEST.encode(), 200),
        ("gzip", gzipped(bytes(50_000_000)), 413),
        ("gzip", gzipped(REQUEST.encode())[:-5], 400),
        ("gzip", gzipped(REQUEST.encode()) + b"more", 400),
        ("gzip", REQUEST.encode(), 400),
        ("deflate", b"", 400),
        ("br", REQUEST.encode(), 415),
        ("gzip, gzip", gzipped(gzipped(REQUEST.encode())), 415),
    ],
)
def test_compressed_bodies_are_unfolded_up_to_the_limit(server, encoding: str, body: bytes, status: int) -> None:
    answered, _, answer = server.request("POST", SUM, body, {"Content-Encoding": encoding})
    assert answered == status, answer


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", SUM, "POST"),
        ("POST", "/v2", "GET,HEAD"),
        ("PUT", "/", "GET,HEAD"),
        ("DELETE", "/v2/models/sum", "GET,HEAD"),
    ],
)
def test_other_methods_are_not_allowed(server, method: str, path: str, allowed: str) -> None:
    status, headers, body = server.request(method, path)
    assert (status, headers["allow"]) == (405, allowed)
    assert json.loads(body) == {"error": f"{method} {path}: Method Not Allowed"}


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null", "", "http://127.0.0.1:1"])
def test_pages_of_other_servers_cannot_make_a_browser_send_requests(server, origin: str) -> None:
    status, answer = server.json("POST", "/v2/repository/models/sum/unload", Origin=origin)
    assert (status, "another server" in answer["error"]) == (403, True)
    assert server.engine.evicted == []
    assert server.request("POST", SUM, REQUEST, {"Origin": origin})[0] == 403
    assert server.request("POST", SUM, REQUEST, {"Origin": f"http://{server.http}"})[0] == 200


def test_a_name_that_was_pointed_here_is_refused_where_nothing_else_protects(serve) -> None:
    server, name = serve(), "elsewhere.example:8000"
    status, answer = server.json("POST", "/v2/repository/models/sum/unload", Host=name, Origin=f"http://{name}")
    assert (status, "ask localhost or an address" in answer["error"]) == (403, True)
    assert server.json("GET", "/v2/models/stats", Host=name)[0] == 403
    assert server.engine.evicted == []
    for own in ("localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "10.0.0.7:80"):
        assert server.json("POST", "/v2/repository/index", {}, Host=own)[0] == 200
    protected = serve(token="secret")
    assert protected.json("POST", "/v2/repository/index", {}, Host=name, Authorization="Bearer secret")[0] == 200


def test_the_token_is_asked_of_everything_but_health(serve) -> None:
    server = serve(token="a secret")
    assert server.request("GET", "/v2/health/ready")[0] == 200
    for method, path in [("GET", "/v2"), ("POST", SUM), ("GET", "/v2/nothing"), ("POST", "/v2/repository/index")]:
        for sent in ({}, {"Authorization": "Bearer a secre"}, {"Authorization": "a secret"}, {"Authorization": "é"}):
            status, headers, _ = server.request(method, path, headers=sent)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert server.request("POST", SUM, REQUEST, {"Authorization": "Bearer a secret"})[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        TRACE,
        TRACE.replace("00-", "cc-") + "-more",
        TRACE.upper(),
        TRACE + "-more",
        TRACE.replace("00-", "ff-"),
        "00-" + "0" * 32 + TRACE[35:],
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "nonsense",
        "cc" + TRACE[2:] + "-" + "x" * 500,
    ],
)
def test_a_well_formed_trace_is_carried_and_another_ignored(server, sent: str) -> None:
    well_formed = sent == TRACE or (sent.startswith("cc") and len(sent) < 100)
    status, headers, _ = server.request("POST", SUM, REQUEST, {"traceparent": sent})
    assert status == 200
    assert headers.get("traceparent") == server.engine.traceparents[-1] == (sent if well_formed else None)


def test_one_line_of_json_a_request(serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve()
    with caplog.at_level(logging.INFO, "deepplan.server"):
        server.request("POST", SUM, REQUEST, {"traceparent": TRACE})
        server.request("POST", "/v2/models/no%0A%22model%22/infer", REQUEST)
        server.engine.error = RunError("it failed")
        server.request("POST", SUM, REQUEST)
    answered, unknown, failed = (json.loads(record.getMessage()) for record in caplog.records)
    assert answered.pop("total_ms") > 0
    assert answered == {
        "event": "infer",
        "protocol": "http",
        "model": "sum",
        "status": 200,
        "traceparent": TRACE,
        "queue_ms": 0.5,
        "run_ms": 20.0,
        "gpu": 0,
        "cold": True,
        "batch_size": 1,
    }
    assert (unknown["model"], unknown["status"]) == ('no\n"model"', 404)
    assert (failed["status"], failed["error"], caplog.records[2].levelname) == (500, "it failed", "WARNING")
    quiet = serve(log_requests=False)
    caplog.clear()
    with caplog.at_level(logging.INFO, "deepplan.server"):
        quiet.request("POST", SUM, REQUEST)
    assert not caplog.records
