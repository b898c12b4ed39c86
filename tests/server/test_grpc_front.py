"""What is not inference, over gRPC: descriptions, the repository, statistics, errors, limits, token, TLS, traces."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc")
tritonclient = pytest.importorskip("tritonclient.grpc")

from tritonclient.utils import InferenceServerException  # noqa: E402

import deepplan  # noqa: E402
from deepplan.errors import (  # noqa: E402
    InvalidInputError,
    OverloadedError,
    RunError,
    UnavailableError,
    UnknownNameError,
)
from deepplan.server.grpc_messages import message  # noqa: E402

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
INFER = "/inference.GRPCInferenceService/ModelInfer"


def sum_request(**fields: Any) -> Any:
    tensor = message("ModelInferRequest").InferInputTensor
    inputs = [tensor(name=name, datatype="FP32", shape=[4], contents={"fp32_contents": [1, 2, 3, 4]}) for name in "ab"]
    return message("ModelInferRequest")(**{"model_name": "sum", "inputs": inputs, **fields})


def call(address: str, request: bytes, method: str = INFER, **options: Any) -> Any:
    """The finished call of one request given as bytes, with no client library's opinion of it."""
    with grpc.insecure_channel(address) as channel:
        sent = channel.unary_unary(method).future(request, timeout=options.pop("timeout", 20), **options)
        sent.exception()
        return sent


def trailing(finished: Any) -> dict[str, str]:
    return dict(finished.trailing_metadata())


@pytest.fixture
def client(server):
    with tritonclient.InferenceServerClient(server.grpc) as connected:
        yield connected


def test_the_server_and_its_models_describe_themselves(server, client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sum", "1")
    metadata = client.get_server_metadata()
    assert (metadata.name, metadata.version) == ("deepplan", deepplan.__version__)
    assert {"model_repository", "statistics"} <= set(metadata.extensions)
    model = client.get_model_metadata("sum")
    assert (model.name, list(model.versions)) == ("sum", ["1"])
    assert [(i.name, i.datatype, list(i.shape)) for i in model.inputs] == [(n, "FP32", [4]) for n in "ab"]
    assert [output.name for output in model.outputs] == ["sum", "difference"]
    config = client.get_model_config("twice_bf16", as_json=True)["config"]
    assert config["input"] == [{"name": "x", "data_type": "TYPE_BF16", "dims": ["2", "3"]}]
    server.engine.ready = False
    assert not client.is_server_ready()
    assert client.is_server_live()


def test_what_is_not_there_is_not_found(client) -> None:
    for act in (
        client.is_model_ready,
        client.get_model_metadata,
        client.get_model_config,
        client.get_inference_statistics,
        client.load_model,
        client.unload_model,
    ):
        with pytest.raises(InferenceServerException, match="there is no model 'none'") as refused:
            act("none")
        assert refused.value.status() == "StatusCode.NOT_FOUND"


def test_a_model_is_unloaded_and_loaded(server, client) -> None:
    def states() -> dict[str, str]:
        return {entry.name: entry.state for entry in client.get_model_repository_index().models}

    assert set(states()) == set(server.engine.models)
    client.unload_model("twice_int8")
    assert server.engine.evicted == ["twice_int8"]
    assert states()["twice_int8"] == "UNAVAILABLE"
    assert not client.is_model_ready("twice_int8")
    assert client.is_server_ready()
    with pytest.raises(InferenceServerException, match="'config' is not supported"):
        client.load_model("twice_int8", config="{}")
    client.load_model("twice_int8")
    assert set(states().values()) == {"READY"}


def test_statistics(serve) -> None:
    server = serve(grpc_port=0)
    for _ in range(2):
        assert call(server.grpc, sum_request().SerializeToString()).code() is grpc.StatusCode.OK
    server.engine.error = RunError("it failed")
    call(server.grpc, sum_request().SerializeToString())
    with tritonclient.InferenceServerClient(server.grpc) as client:
        (found,) = client.get_inference_statistics("sum").model_stats
        everything = client.get_inference_statistics().model_stats
    assert (found.name, found.inference_count, found.execution_count) == ("sum", 2, 2)
    parts = found.inference_stats
    assert (parts.success.count, parts.fail.count, parts.queue.ns, parts.compute_infer.ns) == (2, 1, 10**6, 22 * 10**6)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in found.batch_stats] == [(1, 2)]
    assert {entry.name for entry in everything} == set(server.engine.models)


@pytest.mark.parametrize(
    ("error", "code", "retry_after_ms"),
    [
        (UnknownNameError("no such model"), "NOT_FOUND", None),
        (InvalidInputError("not so"), "INVALID_ARGUMENT", None),
        (OverloadedError("too late", 0.0123), "RESOURCE_EXHAUSTED", "13"),
        (OverloadedError("never", math.inf), "RESOURCE_EXHAUSTED", None),
        (UnavailableError("not now"), "UNAVAILABLE", None),
        (RunError("the model failed"), "INTERNAL", None),
    ],
)
def test_each_error_of_the_engine_has_its_code(server, error: Exception, code: str, retry_after_ms: str) -> None:
    server.engine.error = error
    finished = call(server.grpc, sum_request().SerializeToString())
    assert (finished.code().name, finished.details()) == (code, str(error))
    assert trailing(finished).get("retry-after-ms") == retry_after_ms


def test_a_defect_is_logged_and_not_shown(server, caplog: pytest.LogCaptureFixture) -> None:
    server.engine.error = KeyError("secret")
    finished = call(server.grpc, sum_request().SerializeToString())
    assert finished.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in finished.details()
    assert "secret" in caplog.text


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive", "RepositoryIndex"])
def test_bytes_that_are_no_message_are_refused(server, method: str) -> None:
    finished = call(server.grpc, b"\xff\xff\xff", INFER.replace("ModelInfer", method))
    assert finished.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert method in finished.details()


def test_a_method_that_is_not_served_is_unimplemented(server) -> None:
    finished = call(server.grpc, b"", INFER.replace("ModelInfer", "TraceSetting"))
    assert finished.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_beyond_the_limit_is_refused(serve) -> None:
    server = serve(grpc_port=0, max_body_bytes=1000)
    assert call(server.grpc, sum_request().SerializeToString()).code() is grpc.StatusCode.OK
    finished = call(server.grpc, sum_request(id="x" * 1000).SerializeToString())
    assert finished.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("leaves", ["by its deadline", "by cancelling"])
def test_a_client_that_leaves_frees_its_place(serve, leaves: str) -> None:
    server = serve(grpc_port=0, max_concurrent_requests=1)
    server.engine.delay_s = 30
    request = sum_request().SerializeToString()
    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary(INFER)
        first = infer.future(request, timeout=1.5 if leaves == "by its deadline" else 30)
        assert server.engine.started.wait(10)
        second = infer.future(request, timeout=10)
        assert second.exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert trailing(second)["retry-after-ms"] == "1000"
        if leaves == "by cancelling":
            first.cancel()
        assert server.engine.cancelled.wait(10)
        server.engine.delay_s = 0
        give_up = time.monotonic() + 10
        while infer.future(request, timeout=10).exception() is not None:
            assert time.monotonic() < give_up
    assert server.server.service.statistics.of("sum").failures["CANCELED"] == 1


def test_many_clients_that_leave_at_any_moment_leave_nothing_behind(serve) -> None:
    server = serve(grpc_port=0)
    server.engine.delay_s = 0.01
    request = sum_request().SerializeToString()
    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary(INFER)
        calls = [infer.future(request, timeout=0.001 * (i % 40 + 1)) for i in range(400)]
        for i, sent in enumerate(calls):
            if i % 3 == 0:
                sent.cancel()
        codes = {sent.code().name for sent in calls}
        assert infer(request, timeout=20)
    assert codes <= {"OK", "CANCELLED", "DEADLINE_EXCEEDED"}
    service = server.server.service
    give_up = time.monotonic() + 10
    while service.under_way:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert service.statistics.of("sum").pending == 0


def test_a_request_that_takes_too_long_is_given_up(serve) -> None:
    server = serve(grpc_port=0, request_timeout_s=0.1)
    server.engine.delay_s = 30
    finished = call(server.grpc, sum_request().SerializeToString())
    assert (finished.code(), "0.1 s" in finished.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
    assert server.engine.cancelled.is_set()


def test_a_request_that_does_not_come_is_not_waited_for(serve) -> None:
    server = serve(grpc_port=0, body_timeout_s=0.1)
    end = threading.Event()
    with grpc.insecure_channel(server.grpc) as channel:
        never = (b"" for _ in iter(end.wait, True))
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(INFER)(never, timeout=10)
        end.set()
        assert (refused.value.code(), "0.1 s" in refused.value.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
        empty = channel.stream_unary(INFER).future(iter(()), timeout=10)
        assert empty.exception().code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_token_is_asked_of_everything_but_health(serve) -> None:
    server = serve(grpc_port=0, token="a secret")
    with tritonclient.InferenceServerClient(server.grpc) as client:
        assert client.is_server_ready()
        assert client.is_server_live()
        for headers in ({}, {"authorization": "Bearer a secre"}):
            for act in (client.get_server_metadata, client.get_model_repository_index):
                with pytest.raises(InferenceServerException, match="wants its token") as refused:
                    act(headers=headers)
                assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
        assert client.get_server_metadata(headers={"authorization": "Bearer a secret"}).name == "deepplan"


@pytest.mark.parametrize("sent", [TRACE, "nonsense"])
def test_a_well_formed_trace_is_carried_and_another_ignored(
    server, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "deepplan.server"):
        finished = call(server.grpc, sum_request().SerializeToString(), metadata=[("traceparent", sent)])
    expected = TRACE if sent == TRACE else None
    line = json.loads(caplog.records[-1].getMessage())
    assert (line["protocol"], line["model"], line["status"]) == ("grpc", "sum", 200)
    assert (
        trailing(finished).get("traceparent") == server.engine.traceparents[-1] == line.get("traceparent") == expected
    )


def test_tls(serve, certificate: tuple[Path, Path]) -> None:
    server = serve(grpc_port=0, certificate_file=str(certificate[0]), key_file=str(certificate[1]))
    address = f"localhost:{server.server.grpc_port}"
    with tritonclient.InferenceServerClient(address, ssl=True, root_certificates=str(certificate[0])) as client:
        assert client.is_server_ready()
    assert call(address, b"").code() is grpc.StatusCode.UNAVAILABLE


def test_a_port_that_is_taken_is_refused(serve, server) -> None:
    with pytest.raises(InvalidInputError, match=f"cannot listen on 127.0.0.1:{server.server.grpc_port}"):
        serve(grpc_port=server.server.grpc_port)
