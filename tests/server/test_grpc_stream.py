"""Inference over one stream, through NVIDIA's own client, and what it cannot be made to send or do."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

grpc = pytest.importorskip("grpc")
tritonclient = pytest.importorskip("tritonclient.grpc")

from deepplan.server.grpc_messages import message  # noqa: E402
from deepplan.server.grpc_stream import MOST_UNDER_WAY  # noqa: E402

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
REQUEST, RESPONSE = message("ModelInferRequest"), message("ModelStreamInferResponse")
WAIT_S = 10.0


def tensor(value: float) -> Any:
    given = tritonclient.InferInput("x", [2, 3], "FP32")
    given.set_data_from_numpy(np.full((2, 3), value, np.float32))
    return given


def request(identifier: str) -> bytes:
    x = REQUEST.InferInputTensor(name="x", datatype="FP32", shape=[2, 3])
    sent = REQUEST(model_name="twice_fp32", id=identifier, inputs=[x], raw_input_contents=[bytes(24)])
    return bytes(sent.SerializeToString())


class Requests:
    """What a stream sends: `put` adds a request, and None ends it; `taken` counts those that gRPC has taken."""

    def __init__(self, *given: bytes) -> None:
        self.taken = 0
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self.put = self._waiting.put
        for one in given:
            self.put(one)

    def __iter__(self) -> Iterator[bytes]:
        for one in iter(self._waiting.get, None):
            self.taken += 1
            yield one


def wait_until(condition: Any) -> None:
    give_up = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.fixture
def stream(server):
    """Opens a stream of requests given as bytes."""
    with grpc.insecure_channel(server.grpc) as channel:
        opened = channel.stream_stream(STREAM, response_deserializer=RESPONSE.FromString)
        yield lambda requests, **options: opened(iter(requests), timeout=20, **options)


def test_the_public_client_streams(server) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i in range(200):
            client.async_stream_infer("twice_fp32", [tensor(i)], request_id=str(i))
        client.async_stream_infer("none", [tensor(0)])
        client.async_stream_infer("twice_fp32", [tensor(200)], request_id="200")
        client.stop_stream()  # waits for the answers
    given = [answers.get_nowait() for _ in range(202)]
    assert answers.empty()
    (error,) = [error for _, error in given if error is not None]
    assert "there is no model 'none'" in str(error)
    values = {r.get_response().id: r.as_numpy("y")[0, 0] for r, _ in given if r is not None}
    assert values == {str(i): 2 * i for i in range(201)}
    assert all(r.get_response().parameters["triton_final_response"].bool_param for r, _ in given if r is not None)


def test_answers_come_in_the_order_in_which_they_are_ready(server, stream) -> None:
    requests = Requests(request("slow"))
    server.engine.delay_s = 1.0
    answers = stream(requests)
    assert server.engine.started.wait(WAIT_S)
    server.engine.delay_s = 0.0
    requests.put(request("quick"))
    requests.put(None)
    assert [answer.infer_response.id for answer in answers] == ["quick", "slow"]


def test_a_bad_request_is_answered_and_the_stream_goes_on(server, stream, caplog: pytest.LogCaptureFixture) -> None:
    bad = REQUEST(model_name="twice_fp32", id="bad").SerializeToString()
    requests = Requests(b"\xff\xff\xff", bad)
    with caplog.at_level(logging.INFO, "deepplan.server"):
        answers = stream(requests)
        garbled, refused = sorted((next(answers) for _ in range(2)), key=lambda answer: answer.infer_response.id)
        server.engine.error = KeyError("secret")
        requests.put(request("defect"))
        failed = next(answers)
        server.engine.error = None
        requests.put(request("good"))
        requests.put(None)
        (good,) = answers
    assert "not the message that ModelStreamInfer takes" in garbled.error_message
    assert ("also needs 'x'" in refused.error_message, refused.infer_response.id) == (True, "bad")
    assert ("its log says how" in failed.error_message, failed.infer_response.id) == (True, "defect")
    assert (good.error_message, good.infer_response.id) == ("", "good")
    assert answers.code() is grpc.StatusCode.OK
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.getMessage().startswith("{")]
    assert [line["status"] for line in lines] == [400, 500, 200]


def test_a_stream_that_has_enough_under_way_is_not_read(server, stream) -> None:
    service = server.server.service
    server.engine.delay_s = 0.5
    requests = Requests(*(request(str(i)) for i in range(3 * MOST_UNDER_WAY)))
    requests.put(None)
    answers = stream(requests)
    most = 0
    give_up = time.monotonic() + WAIT_S
    received: list[Any] = []
    reader = threading.Thread(target=lambda: received.extend(answers))
    reader.start()
    while reader.is_alive():
        assert time.monotonic() < give_up
        most = max(most, service.under_way)
        time.sleep(0.001)
    assert most == MOST_UNDER_WAY
    assert {answer.infer_response.id for answer in received} == {str(i) for i in range(3 * MOST_UNDER_WAY)}


def test_a_client_that_leaves_cancels_what_it_has_under_way(server, stream) -> None:
    service = server.server.service
    server.engine.delay_s = 30
    before = service.statistics.of("twice_fp32").failures["CANCELED"]
    answers = stream(Requests(*(request(str(i)) for i in range(5))))
    wait_until(lambda: service.under_way == 5)
    answers.cancel()
    wait_until(lambda: service.under_way == 0)
    assert service.statistics.of("twice_fp32").failures["CANCELED"] == before + 5


def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    server, stream, caplog: pytest.LogCaptureFixture
) -> None:
    server.engine.delay_s = 0.005
    for i in range(60):
        answers = stream(Requests(*(request(str(i)) for i in range(20))))
        time.sleep(0.0005 * i)
        answers.cancel()
    wait_until(lambda: server.server.service.under_way == 0)
    assert "failed in the server itself" not in caplog.text


def test_the_limits_are_those_of_single_requests(serve) -> None:
    server = serve(grpc_port=0, max_concurrent_requests=2, request_timeout_s=0.3, idle_timeout_s=0.5, token="a secret")
    server.engine.delay_s = 30
    with grpc.insecure_channel(server.grpc) as channel:
        opened = channel.stream_stream(STREAM, response_deserializer=RESPONSE.FromString)
        refused = opened(iter(()), timeout=20)
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
        requests = Requests(*(request(str(i)) for i in range(3)))
        answers = opened(iter(requests), timeout=20, metadata=[("authorization", "Bearer a secret")])
        messages = [next(answers).error_message for _ in range(3)]
        assert "which is the server's limit" in messages[0]
        assert [message.startswith("the request took longer than 0.3 s") for message in messages] == [False, True, True]
        with pytest.raises(grpc.RpcError, match=r"no request came over the stream for 0\.5 s") as idle:
            next(answers)
        assert idle.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        requests.put(None)
