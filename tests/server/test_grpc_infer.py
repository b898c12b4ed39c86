"""Inference over gRPC through NVIDIA's own client, and what it cannot be made to send."""

from __future__ import annotations

import math
import queue
from typing import Any

import numpy as np
import pytest

ml_dtypes = pytest.importorskip("ml_dtypes")
grpc = pytest.importorskip("grpc")
tritonclient = pytest.importorskip("tritonclient.grpc")

from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # noqa: E402

from deepplan.server.grpc_messages import message  # noqa: E402
from deepplan.serving.inference import ITEM_SIZE_BYTES  # noqa: E402

DATATYPES = {
    np_to_triton_dtype(np.dtype(dtype)): np.array([[0, 1, 2], [3, 4, 5]], dtype)
    for dtype in ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ml_dtypes.bfloat16)
}
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
REQUEST = message("ModelInferRequest")


def tensor(name: str, values: np.ndarray) -> Any:
    given = tritonclient.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    given.set_data_from_numpy(values)
    return given


@pytest.fixture
def client(server):
    with tritonclient.InferenceServerClient(server.grpc) as connected:
        yield connected


@pytest.fixture
def send(server):
    """Sends fields of a ModelInferRequest as they are: what is answered, or the error."""
    with grpc.insecure_channel(server.grpc) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            REQUEST.SerializeToString,
            message("ModelInferResponse").FromString,
        )
        yield lambda **fields: infer(REQUEST(**fields), timeout=20)


def x_of(datatype: str = "FP32", shape: tuple[int, ...] = (2, 3), **contents: Any) -> Any:
    return REQUEST.InferInputTensor(name="x", datatype=datatype, shape=shape, contents=contents or None)


def test_the_samples_are_of_every_type() -> None:
    assert set(DATATYPES) == set(ITEM_SIZE_BYTES)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_type_goes_there_and_back(client, datatype: str) -> None:
    values = DATATYPES[datatype]
    answer = client.infer(f"twice_{datatype.lower()}", [tensor("x", values)]).as_numpy("y")
    assert answer.dtype == values.dtype
    np.testing.assert_array_equal(answer, ~values if datatype == "BOOL" else values + values)


@pytest.mark.parametrize("datatype", FIELDS)
def test_every_typed_field_is_understood(send, datatype: str) -> None:
    values = DATATYPES[datatype]
    given = x_of(datatype, **{FIELDS[datatype]: values.ravel().tolist()})
    answer = send(model_name=f"twice_{datatype.lower()}", inputs=[given])
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (datatype, [2, 3])
    expected = ~values if datatype == "BOOL" else values + values
    assert answer.raw_output_contents[0] == expected.tobytes()


def test_nan_and_infinity_survive_in_typed_fields(send) -> None:
    values = [math.nan, math.inf, -math.inf, 0, 1, 2]
    (raw,) = send(model_name="twice_fp32", inputs=[x_of(fp32_contents=values)]).raw_output_contents
    np.testing.assert_array_equal(np.frombuffer(raw, np.float32), np.array(values, np.float32) * 2)


def test_inputs_in_any_order_and_only_the_outputs_asked_for_in_theirs(client) -> None:
    a, b = np.arange(4, dtype=np.float32), np.full(4, 10, np.float32)
    inputs = [tensor("b", b), tensor("a", a)]
    everything = client.infer("sum", inputs, request_id="mine", model_version="1")
    np.testing.assert_array_equal(everything.as_numpy("sum"), a + b)
    np.testing.assert_array_equal(everything.as_numpy("difference"), a - b)
    response = everything.get_response()
    assert (response.id, response.model_name, response.model_version) == ("mine", "sum", "1")
    one = client.infer("sum", inputs, outputs=[tritonclient.InferRequestedOutput("difference")])
    assert one.as_numpy("sum") is None
    wanted = [tritonclient.InferRequestedOutput(name) for name in ("difference", "sum")]
    both = client.infer("sum", inputs, outputs=wanted)
    assert [output.name for output in both.get_response().outputs] == ["difference", "sum"]
    np.testing.assert_array_equal(both.as_numpy("difference"), a - b)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request_is_understood(client, algorithm: str) -> None:
    values = DATATYPES["FP32"]
    result = client.infer("twice_fp32", [tensor("x", values)], compression_algorithm=algorithm)
    np.testing.assert_array_equal(result.as_numpy("y"), values * 2)


def test_many_requests_share_a_connection(client) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for i in range(20):
        x = tensor("x", DATATYPES["INT32"] + i)
        client.async_infer("twice_int32", [x], lambda result, error: answers.put((result, error)), request_id=str(i))
    for _ in range(20):
        result, error = answers.get(timeout=20)
        assert error is None
        expected = 2 * (DATATYPES["INT32"] + int(result.get_response().id))
        np.testing.assert_array_equal(result.as_numpy("y"), expected)


def test_a_large_tensor_is_whole(serve) -> None:
    server = serve(grpc_port=0)
    from deepplan.serving.inference import ModelMetadata, TensorSpec

    shape = (2048, 1024)  # 8 MiB, twice what gRPC takes by default
    specs = [TensorSpec(name, "FP32", shape) for name in "xy"]
    server.engine.models["twice_large"] = ModelMetadata("twice_large", (specs[0],), (specs[1],))
    values = np.random.default_rng(1).random(shape, np.float32)
    with tritonclient.InferenceServerClient(server.grpc) as client:
        np.testing.assert_array_equal(client.infer("twice_large", [tensor("x", values)]).as_numpy("y"), values * 2)


@pytest.mark.parametrize(
    ("model", "inputs", "code", "text"),
    [
        ("twice_fp33", [("x", "f4", (2, 3))], "NOT_FOUND", "no model 'twice_fp33'; served are sum, twice_bf16"),
        ("twice_fp32", [("z", "f4", (2, 3))], "INVALID_ARGUMENT", "an input's name is 'z'; it must be one of 'x'"),
        ("twice_fp32", [("x", "f8", (2, 3))], "INVALID_ARGUMENT", "datatype of input 'x' is 'FP64'"),
        ("twice_fp32", [("x", "f4", (3, 2))], "INVALID_ARGUMENT", r"shape of input 'x' is \[3, 2\]"),
        ("twice_fp32", [], "INVALID_ARGUMENT", "also needs 'x'"),
        ("sum", [("b", "f4", (4,))], "INVALID_ARGUMENT", "also needs 'a'"),
        ("sum", [("a", "f4", (4,)), ("a", "f4", (4,))], "INVALID_ARGUMENT", "'a' is given twice"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(client, model, inputs, code, text) -> None:
    sent = [tensor(name, np.zeros(shape, dtype)) for name, dtype, shape in inputs]
    with pytest.raises(InferenceServerException, match=text) as refused:
        client.infer(model, sent)
    assert refused.value.status() == f"StatusCode.{code}"


def test_what_is_not_served_is_refused(client) -> None:
    sent = [tensor("x", DATATYPES["FP32"])]
    with pytest.raises(InferenceServerException, match="no version '2'"):
        client.infer("twice_fp32", sent, model_version="2")
    with pytest.raises(InferenceServerException, match="an output's name is 'z'"):
        client.infer("twice_fp32", sent, outputs=[tritonclient.InferRequestedOutput("z")])
    for arguments in ({"sequence_id": 3}, {"priority": 1}, {"timeout": 1000}):
        with pytest.raises(InferenceServerException, match="not supported"):
            client.infer("twice_fp32", sent, **arguments)
    with pytest.raises(InferenceServerException, match="'classification' is not supported"):
        client.infer("twice_fp32", sent, outputs=[tritonclient.InferRequestedOutput("y", class_count=2)])
    region = tritonclient.InferInput("x", [2, 3], "FP32")
    region.set_shared_memory("region", 24)
    with pytest.raises(InferenceServerException, match=r"'shared_memory_.*' is not supported"):
        client.infer("twice_fp32", [region])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"inputs": [x_of()], "raw_input_contents": [bytes(23)]}, "size in bytes of input 'x' is 23; it must be 24"),
        ({"inputs": [x_of()], "raw_input_contents": [bytes(24)] * 2}, "2 raw_input_contents and 1 inputs"),
        ({"inputs": [x_of(fp32_contents=[1] * 6)], "raw_input_contents": [bytes(24)]}, "send one of them"),
        ({"inputs": [x_of()]}, "number of elements of input 'x' is 0; it must be 6"),
        ({"inputs": [x_of(fp32_contents=[1] * 5)]}, "number of elements of input 'x' is 5"),
        ({"inputs": [x_of(int_contents=[1] * 6)]}, "in int_contents, not in fp32_contents"),
        ({"inputs": [x_of("BYTES", bytes_contents=[b"a"] * 6)]}, "'BYTES' must be sent in raw_input_contents"),
        ({"inputs": [x_of(shape=(-2, -3), fp32_contents=[1] * 6)]}, r"shape of input 'x' is \[-2, -3\]"),
        ({"inputs": [x_of(shape=(2**62, 4), fp32_contents=[1] * 6)]}, "shape of input 'x'"),
        ({"model_name": "twice_int8", "inputs": [x_of("INT8", int_contents=[128] * 6)]}, "from -128 to 127"),
        ({"model_name": "twice_uint8", "inputs": [x_of("UINT8", uint_contents=[256] * 6)]}, "from 0 to 255"),
        ({"model_name": "twice_fp16", "inputs": [x_of("FP16", fp32_contents=[1] * 6)]}, "must be sent in raw_input"),
        (
            {"model_name": "twice_bool", "inputs": [x_of("BOOL")], "raw_input_contents": [b"\7" * 6]},
            "other than 0 and 1",
        ),
    ],
)
def test_tensors_of_another_form_are_refused(server, send, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(grpc.RpcError, match=text) as refused:
        send(**{"model_name": "twice_fp32", **fields})
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not server.engine.started.is_set()
