"""Whatever bytes a client sends, it is answered 200 or an error that is its own, and the next one is served."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

grpc = pytest.importorskip("grpc")

from deepplan.server.grpc_messages import message, methods  # noqa: E402
from deepplan.serving.inference import ITEM_SIZE_BYTES  # noqa: E402

PATHS = [f"/v2/models/twice_{name.lower()}/infer" for name in ITEM_SIZE_BYTES]
SERVICE = "/inference.GRPCInferenceService/"
thorough = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

visible = st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")
numbers = st.integers() | st.floats() | st.integers(2**60, 2**70) | st.just(10**400)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=20)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=8), inner), max_leaves=12
)


def rarely(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly as it should be, so that what follows is reached."""
    return st.integers(0, 5).flatmap(lambda dice: anything if dice == 0 else usual)


elements = st.lists(numbers | st.booleans(), min_size=6, max_size=6) | st.lists(
    st.lists(numbers, min_size=3, max_size=3), min_size=2, max_size=2
)
parameters = st.dictionaries(
    st.sampled_from(["binary_data", "binary_data_size", "binary_data_output", "priority", "x"]), anything, max_size=2
)
optional_parameters = {"parameters": rarely(parameters)}
tensors = st.fixed_dictionaries(
    {
        "name": rarely(st.just("x")),
        "datatype": rarely(st.sampled_from(sorted(ITEM_SIZE_BYTES))),
        "shape": rarely(st.just([2, 3])),
        "data": rarely(elements),
    },
    optional=optional_parameters,
)
outputs = st.fixed_dictionaries({"name": rarely(st.just("y"))}, optional=optional_parameters)
requests = st.fixed_dictionaries(
    {"inputs": rarely(st.lists(rarely(tensors), min_size=1, max_size=2))},
    optional={
        "id": rarely(st.text(max_size=9)),
        "outputs": rarely(st.lists(rarely(outputs), max_size=2)),
        **optional_parameters,
    },
)


def check(status: int, body: bytes) -> None:
    assert status == 200 or 400 <= status < 500, (status, body)
    if status != 200:
        assert json.loads(body).keys() == {"error"}


@pytest.fixture
def post(server) -> Iterator[Any]:
    connection = http.client.HTTPConnection(server.http, timeout=20)

    def one(path: str, body: bytes, headers: dict[str, Any]) -> tuple[int, bytes]:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    yield one
    connection.close()


@thorough
@given(path=st.sampled_from(PATHS), request=requests | anything)
def test_json_of_any_form(post, path: str, request: Any) -> None:
    check(*post(path, json.dumps(request).encode(), {}))


@thorough
@given(
    path=st.sampled_from([*PATHS, "/v2/repository/index", "/v2/repository/models/sum/load"]),
    body=st.binary(max_size=200),
    tail=st.binary(max_size=60),
    encoding=st.sampled_from(["gzip", "deflate", "identity", "br", ""]),
    length=st.none() | st.integers(-1, 100).map(str) | st.text(visible),
)
def test_bytes_of_any_kind(post, path: str, body: bytes, tail: bytes, encoding: str, length: str | None) -> None:
    headers: dict[str, Any] = {"Content-Encoding": encoding} if encoding else {}
    if length is not None:
        headers["Inference-Header-Content-Length"] = length.encode("latin-1")
    check(*post(path, b'{"inputs":[]}' + tail if len(body) % 2 else body, headers))


@thorough
@given(head=st.lists(st.binary(max_size=60), max_size=6), valid_line=st.booleans())
def test_heads_of_any_kind(server, head: list[bytes], valid_line: bool) -> None:
    lines = [b"POST /v2/models/sum/infer HTTP/1.1", b"Host: localhost"] * valid_line + head
    with socket.create_connection(("127.0.0.1", server.server.http_port), timeout=20) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65_536)
    assert not answer or 400 <= int(answer.split()[1]) < 500, answer
    assert server.request("GET", "/v2/health/live")[0] == 200


@thorough
@given(
    path=st.lists(st.sampled_from(["v2", "models", "sum", "infer", "versions", "1", "%00", "..", "%2F", "ü", "stats"])),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "TRACE", "X"]),
    name=st.sampled_from(["Authorization", "traceparent", "Accept", "Content-Type", "Expect", "Range", "Upgrade"]),
    value=st.text(visible) | st.sampled_from(["100-continue", "bytes=0-1", "websocket"]),
)
def test_paths_methods_and_headers_of_any_kind(server, path, method: str, name: str, value: str) -> None:
    url = "/" + "/".join(path).replace("ü", "%FC")
    status, _, _ = server.request(method, url, headers={name: value.encode("latin-1")})
    assert status == 200 or 400 <= status < 500, (method, url, status)


@thorough
@given(method=st.sampled_from(sorted(methods())), request=st.binary(max_size=100))
def test_messages_of_any_kind(channel, method: str, request: bytes) -> None:
    check_call(channel, method, request)


names = st.sampled_from(["x", "y", ""]) | st.text(max_size=9)
contents = st.fixed_dictionaries(
    {},
    optional={
        "bool_contents": st.lists(st.booleans(), max_size=7),
        "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), min_size=6, max_size=6),
        "fp32_contents": st.lists(st.floats(width=32), min_size=6, max_size=6),
        "bytes_contents": st.lists(st.binary(max_size=4), max_size=7),
    },
)
inputs = st.fixed_dictionaries(
    {
        "name": names,
        "datatype": st.sampled_from([*ITEM_SIZE_BYTES, "BYTES", ""]),
        "shape": st.just([2, 3]) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    },
    optional={"contents": contents},
)


@thorough
@given(
    model=st.sampled_from([path.split("/")[3] for path in PATHS]),
    tensors=st.lists(inputs, max_size=2),
    raw=st.lists(st.binary(max_size=48), max_size=2),
    wanted=st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
)
def test_inference_messages_of_any_kind(channel, model: str, tensors: list[Any], raw: list[bytes], wanted: Any) -> None:
    request = message("ModelInferRequest")(
        model_name=model, inputs=tensors, raw_input_contents=raw, outputs=wanted
    ).SerializeToString()
    check_call(channel, "ModelInfer", request)


@pytest.fixture
def channel(server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc) as connected:
        yield connected


def check_call(channel: Any, method: str, request: bytes) -> None:
    code = channel.unary_unary(SERVICE + method).future(request, timeout=20).code().name
    # UNAVAILABLE: by chance it unloaded a model.
    assert code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"), code
