"""What becomes of requests over HTTP and gRPC, on real sockets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepplan.client.connecting import connect, make_targets
from deepplan.client.open_loop import send_workload
from deepplan.client.precise_loop import run
from deepplan.client.requests import Requests
from deepplan.client.transport import Status, answered
from deepplan.errors import DeepPlanError, InvalidInputError, ServingError, UnavailableError, UnknownNameError
from deepplan.serving.arrivals import Arrivals
from deepplan.serving.inference import TensorSpec

PROTOCOLS = ("http", "grpc")


def send(url: str, arrivals: Arrivals, models: Sequence[str] = ("m",), **options: Any) -> Requests:
    token, ca = options.pop("token", None), options.pop("ca", None)

    async def main() -> Requests:
        async with connect(url, token=token, ca=ca) as transport:
            targets = await make_targets(transport, [(model, model) for model in models])
            return await send_workload(transport, arrivals, targets, **options)

    return run(main())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_outcome_is_told_apart(protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals]) -> None:
    kinds = ["answer", "cold", "untold", "refuse", "fail", "too large"]
    server = serve(what=lambda number: kinds[number % len(kinds)])
    requests = send(server.url(protocol), every(10, 60))
    assert np.bincount(requests.status).tolist() == [30, 10, 20]
    assert sorted(requests.cold[requests.status == Status.ANSWERED]) == [-1] * 10 + [0] * 10 + [1] * 10
    told = requests.cold != -1
    assert set(requests.queue_ms[told]) == {1.5} and set(requests.run_ms[told]) == {4.0}
    assert np.isnan(requests.queue_ms[~told]).all() and np.isnan(requests.run_ms[~told]).all()
    assert np.isnan(requests.latency_ms).tolist() == (requests.status != Status.ANSWERED).tolist()
    assert set(requests.reasons.values()) == {10}
    failed, too_large = sorted(requests.reasons, key=lambda reason: "too large" in reason)
    assert "told to fail" in failed and ("500" in failed or "INTERNAL" in failed)
    assert "told to too large" in too_large and ("413" in too_large or "RESOURCE_EXHAUSTED" in too_large)


@pytest.mark.parametrize("sent", [True, "4", -1, float("nan"), float("inf"), 10**400, None, [1]])
def test_what_is_no_time_counts_as_not_sent(sent: object) -> None:
    outcome = answered({"cold": 1, "queue_ms": sent, "run_ms": sent})
    assert (outcome.cold, outcome.queue_ms, outcome.run_ms) == (None, None, None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_instance_is_called_by_its_name_with_the_same_inputs(
    protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals]
) -> None:
    server = serve()
    names = ["a-0", "a-1", "b c/ä"]
    send(server.url(protocol), every(5, 30, 3), names)
    assert sorted(server.calls) == sorted(names * 10)
    (data,) = server.tensors
    tokens = np.frombuffer(data, "<i8")
    assert len(tokens) == 4 and tokens.min() >= 0 and tokens.max() < 1000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_latency_is_at_least_the_servers(
    protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals]
) -> None:
    requests = send(serve(delay_s=0.1).url(protocol), every(10, 20))
    assert requests.latency_ms.min() >= 100
    assert requests.elapsed_ms >= 190 + 100


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stall_is_charged_for_all_that_was_due_meanwhile(
    protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals]
) -> None:
    requests = send(serve(stall_at=20, stall_s=0.3).url(protocol), every(5, 160))
    assert (requests.status == Status.ANSWERED).all()
    # 30 are due in the first half of the stall; a generator that waited for answers would have sent but one.
    assert (requests.latency_ms > 150).sum() >= 28


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_goes_away_fails_what_is_left(
    protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals]
) -> None:
    server = serve(what=lambda number: "kill" if number == 20 else "answer")
    requests = send(server.url(protocol), every(10, 120), timeout_s=20)
    assert (requests.status[:10] == Status.ANSWERED).all()
    assert (requests.status[-10:] == Status.FAILED).all()
    assert sum(requests.reasons.values()) == (requests.status == Status.FAILED).sum()
    assert requests.elapsed_ms < 20_000


def test_a_lost_connection_fails_one_request(serve: Callable[..., Any], every: Callable[..., Arrivals]) -> None:
    server = serve(what=lambda number: "drop" if number in (5, 12) else "answer")
    requests = send(server.http_url, every(10, 30))
    assert np.bincount(requests.status).tolist() == [28, 0, 2]
    assert len(server.calls) == 30


def test_an_answer_that_is_none_is_a_failure(serve: Callable[..., Any], every: Callable[..., Arrivals]) -> None:
    requests = send(serve(what=lambda number: "garbage").http_url, every(10, 3))
    assert requests.reasons == {"HTTP 200 with an answer that is not of the protocol v2": 3}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_metadata_are_the_servers(protocol: str, serve: Callable[..., Any]) -> None:
    server = serve()

    async def main() -> None:
        async with connect(server.url(protocol)) as transport:
            metadata = await transport.metadata("m")
            assert (metadata.name, metadata.inputs) == ("m", (TensorSpec("x", "INT64", (1, 4)),))
            with pytest.raises(UnknownNameError, match=r"nosuch.*unknown model"):
                await transport.metadata("nosuch")

    run(main())


@pytest.mark.parametrize(
    "inputs",
    [
        '[{"name": "x", "datatype": "FP32", "shape": "ab"}]',
        '[{"name": "x", "datatype": "FP32", "shape": [1.5]}]',
        '[{"name": 3, "datatype": ["FP32"], "shape": [1]}]',
        '[{"name": "x", "datatype": "FP32"}]',
        '"none"',
    ],
)
def test_metadata_of_another_kind_are_refused(inputs: str, serve: Callable[..., Any]) -> None:
    async def main() -> None:
        async with connect(serve(metadata=inputs).http_url) as transport:
            with pytest.raises(ServingError, match="otherwise than the protocol"):
                await transport.metadata("m")

    run(main())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_is_not_ready_is_refused(
    protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals]
) -> None:
    with pytest.raises(UnavailableError, match="not ready"):
        send(serve(ready=False).url(protocol), every(10, 1))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_nobody_there_is_said(url: str, every: Callable[..., Arrivals]) -> None:
    with pytest.raises(UnavailableError, match=f"no server answers at {url}"):
        send(url, every(10, 1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_token_is_sent(protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals]) -> None:
    url = serve(token="s3cret").url(protocol)
    assert send(url, every(10, 2), token="s3cret").status.tolist() == [0, 0]
    with pytest.raises(ServingError, match="bearer token"):
        send(url, every(10, 2))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_traffic_is_encrypted_for_a_ca_that_is_trusted(
    protocol: str, serve: Callable[..., Any], every: Callable[..., Arrivals], tmp_path: Path
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*openssl, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    url = serve(tls=(certificate, key)).url(protocol)
    assert send(url, every(10, 2), ca=certificate.read_bytes()).status.tolist() == [0, 0]
    with pytest.raises(UnavailableError):
        send(url, every(10, 2))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("localhost:8000", {}),
        ("ftp://localhost", {}),
        ("http://", {}),
        ("http://localhost:99999", {}),
        ("http://localhost?a=b", {}),
        ("http://me:two@localhost", {}),
        ("grpc://localhost:8001/path", {}),
        ("http://localhost", {"ca": b"-----BEGIN CERTIFICATE-----"}),
        ("https://localhost", {"ca": b"no certificate"}),
        ("http://localhost", {"token": "two\nlines"}),
        ("http://localhost", {"token": ""}),
    ],
)
def test_misuse_is_refused_at_once(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        connect(url, **options)
    assert "two" not in str(refused.value)
    assert isinstance(refused.value, DeepPlanError)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepplan.client.http_transport", None)
    with pytest.raises(InvalidInputError, match=r"deepplan\[serve\]"):
        connect("http://localhost")


def test_messages_are_those_of_the_protocol_beside_tritonclients_own() -> None:
    service = pytest.importorskip("tritonclient.grpc.service_pb2")
    from deepplan.client.grpc_messages import message

    request = message("ModelInferRequest")(
        model_name="m", inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 2]}], raw_input_contents=[b"12345678"]
    )
    read = service.ModelInferRequest.FromString(request.SerializeToString())
    assert (read.model_name, read.inputs[0].name, list(read.inputs[0].shape)) == ("m", "x", [1, 2])
    assert (read.inputs[0].datatype, read.raw_input_contents[0]) == ("FP32", b"12345678")

    response = service.ModelInferResponse(model_name="m", raw_output_contents=[b"123"])
    response.parameters["cold"].bool_param = True
    response.parameters["other"].string_param = "skipped"
    parameters = message("ModelInferResponse").FromString(response.SerializeToString()).parameters
    choices = {entry.key: entry.value.WhichOneof("parameter_choice") for entry in parameters}
    assert choices == {"cold": "bool_param", "other": None}

    described = service.ModelMetadataResponse(name="m")
    described.inputs.add(name="x", datatype="INT64", shape=[2, 3])
    (spec,) = message("ModelMetadataResponse").FromString(described.SerializeToString()).inputs
    assert (spec.name, spec.datatype, list(spec.shape)) == ("x", "INT64", [2, 3])
    assert message("ServerReadyResponse").FromString(service.ServerReadyResponse(ready=True).SerializeToString()).ready
