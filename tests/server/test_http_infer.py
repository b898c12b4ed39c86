"""Inference over HTTP through NVIDIA's own client, and what it cannot be made to send."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

ml_dtypes = pytest.importorskip("ml_dtypes")
tritonclient = pytest.importorskip("tritonclient.http")

from tritonclient.utils import InferenceServerException, np_to_triton_dtype  # noqa: E402

from deepplan.serving.inference import ITEM_SIZE_BYTES  # noqa: E402

DATATYPES = {
    np_to_triton_dtype(np.dtype(dtype)): np.array([[0, 1, 2], [3, 4, 5]], dtype)
    for dtype in ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ml_dtypes.bfloat16)
}
FORMS = [
    (datatype, sent, wanted)
    for datatype in DATATYPES
    for sent in ("binary", "json")
    for wanted in ("binary", "json", "default")
    if datatype not in ("FP16", "BF16") or "json" not in (sent, wanted)  # which the protocol sends as binary data only
]
TWICE = "/v2/models/twice_fp32/infer"
X = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}


def test_the_samples_are_of_every_type() -> None:
    assert set(DATATYPES) == set(ITEM_SIZE_BYTES)


def tensor(name: str, values: np.ndarray, *, binary: bool = True):
    given = tritonclient.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    given.set_data_from_numpy(values, binary_data=binary)
    return given


@pytest.fixture
def client(server):
    with tritonclient.InferenceServerClient(server.http) as connected:
        yield connected


@pytest.mark.parametrize(("datatype", "sent", "wanted"), FORMS)
def test_every_type_goes_there_and_back(client, datatype: str, sent: str, wanted: str) -> None:
    values = DATATYPES[datatype]
    outputs = None
    if wanted != "default":
        outputs = [tritonclient.InferRequestedOutput("y", binary_data=wanted == "binary")]
    result = client.infer(f"twice_{datatype.lower()}", [tensor("x", values, binary=sent == "binary")], outputs=outputs)
    expected = ~values if datatype == "BOOL" else values + values
    answer = result.as_numpy("y")
    assert answer.dtype == values.dtype
    np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_is_never_answered_in_json(server, client, datatype: str) -> None:
    given, wanted = tensor("x", DATATYPES[datatype]), tritonclient.InferRequestedOutput("y", binary_data=False)
    with pytest.raises(InferenceServerException, match="no text form") as refused:
        client.infer(f"twice_{datatype.lower()}", [given], outputs=[wanted])
    assert refused.value.status() == "400"
    assert not server.engine.started.is_set(), "it was run for nothing"


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("binary", [True, False])
def test_inputs_may_come_in_any_order_and_mixed_forms(client, name: str, binary: bool) -> None:
    a, b = np.arange(4, dtype=np.float32), np.full(4, 10, np.float32)
    inputs = [tensor("a", a, binary=binary), tensor("b", b, binary=not binary)]
    if name == "b":
        inputs.reverse()
    result = client.infer("sum", inputs, request_id="mine")
    np.testing.assert_array_equal(result.as_numpy("sum"), a + b)
    np.testing.assert_array_equal(result.as_numpy("difference"), a - b)
    assert result.get_response()["id"] == "mine"
    assert (result.get_response()["model_name"], result.get_response()["model_version"]) == ("sum", "1")


def test_only_the_outputs_asked_for_come_in_the_order_asked(client) -> None:
    a, b = np.arange(4, dtype=np.float32), np.full(4, 10, np.float32)
    inputs = [tensor("a", a), tensor("b", b)]
    one = client.infer("sum", inputs, outputs=[tritonclient.InferRequestedOutput("difference")])
    assert one.as_numpy("sum") is None
    np.testing.assert_array_equal(one.as_numpy("difference"), a - b)
    wanted = [tritonclient.InferRequestedOutput("difference"), tritonclient.InferRequestedOutput("sum", False)]
    both = client.infer("sum", inputs, outputs=wanted)
    assert [output["name"] for output in both.get_response()["outputs"]] == ["difference", "sum"]
    np.testing.assert_array_equal(both.as_numpy("sum"), a + b)
    np.testing.assert_array_equal(both.as_numpy("difference"), a - b)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request_is_understood(client, algorithm: str) -> None:
    values = DATATYPES["FP32"]
    result = client.infer(
        "twice_fp32",
        [tensor("x", values)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_array_equal(result.as_numpy("y"), values * 2)


def test_many_requests_share_the_connections_of_one_client(server) -> None:
    with tritonclient.InferenceServerClient(server.http, concurrency=4) as client:
        calls = [
            client.async_infer("twice_int32", [tensor("x", DATATYPES["INT32"] + i)], model_version="1")
            for i in range(20)
        ]
        for i, call in enumerate(calls):
            np.testing.assert_array_equal(call.get_result().as_numpy("y"), 2 * (DATATYPES["INT32"] + i))


def test_nan_and_infinity_survive_in_json(client) -> None:
    values = np.array([[math.nan, math.inf, -math.inf], [0, 1, 2]], np.float32)
    wanted = [tritonclient.InferRequestedOutput("y", binary_data=False)]
    result = client.infer("twice_fp32", [tensor("x", values, binary=False)], outputs=wanted)
    np.testing.assert_array_equal(result.as_numpy("y"), values * 2)


def test_a_large_output_is_whole(serve) -> None:
    server = serve()
    from deepplan.serving.inference import ModelMetadata, TensorSpec

    shape = (1024, 1024)
    specs = [TensorSpec(name, "FP32", shape) for name in "xy"]
    server.engine.models["twice_large"] = ModelMetadata("twice_large", (specs[0],), (specs[1],))
    values = np.random.default_rng(1).random(shape, np.float32)
    with tritonclient.InferenceServerClient(server.http) as client:
        np.testing.assert_array_equal(client.infer("twice_large", [tensor("x", values)]).as_numpy("y"), values * 2)


@pytest.mark.parametrize(
    ("model", "inputs", "status", "message"),
    [
        ("twice_fp33", [("x", "f4", (2, 3))], "404", "no model 'twice_fp33'; served are sum, twice_bf16"),
        ("twice_fp32", [("z", "f4", (2, 3))], "400", "an input's name is 'z'; it must be one of 'x'"),
        ("twice_fp32", [("x", "f8", (2, 3))], "400", "datatype of input 'x' is 'FP64'; it must be 'FP32'"),
        ("twice_fp32", [("x", "f4", (3, 2))], "400", r"shape of input 'x' is \[3, 2\]; it must be '?\[2, 3\]"),
        ("twice_fp32", [("x", "f4", (1, 2, 3))], "400", "shape of input 'x'"),
        ("twice_fp32", [], "400", "also needs 'x'"),
        ("sum", [("b", "f4", (4,))], "400", "also needs 'a'"),
        ("sum", [("a", "f4", (4,)), ("a", "f4", (4,))], "400", "'a' is given twice"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(client, model, inputs, status, message) -> None:
    sent = [tensor(name, np.zeros(shape, dtype)) for name, dtype, shape in inputs]
    with pytest.raises(InferenceServerException, match=message) as refused:
        client.infer(model, sent)
    assert refused.value.status() == status


def test_parameters_that_would_change_the_meaning_are_refused(client) -> None:
    sent = [tensor("x", DATATYPES["FP32"])]
    for arguments in ({"sequence_id": 3}, {"priority": 1}, {"timeout": 1000}):
        with pytest.raises(InferenceServerException, match="not supported"):
            client.infer("twice_fp32", sent, **arguments)
    with pytest.raises(InferenceServerException, match="'classification' is not supported"):
        client.infer("twice_fp32", sent, outputs=[tritonclient.InferRequestedOutput("y", class_count=2)])
    region = tritonclient.InferInput("x", [2, 3], "FP32")
    region.set_shared_memory("region", 24)
    with pytest.raises(InferenceServerException, match=r"'shared_memory_.*' is not supported"):
        client.infer("twice_fp32", [region])
    assert client.infer("twice_fp32", sent, parameters={"anything": "else"}).as_numpy("y") is not None


def test_another_version_is_unknown(client) -> None:
    with pytest.raises(InferenceServerException, match="no version '2'") as refused:
        client.infer("twice_fp32", [tensor("x", DATATYPES["FP32"])], model_version="2")
    assert refused.value.status() == "404"


def binary_request(size: object, tail: bytes, **changes: object) -> tuple[bytes, dict[str, str]]:
    sent = {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": size}, **changes}
    text = json.dumps({"inputs": [sent]}).encode()
    return text + tail, {"Inference-Header-Content-Length": str(len(text))}


@pytest.mark.parametrize(
    ("size", "tail", "message"),
    [
        (24, bytes(23), "binary_data_size is 24; it must be from 0 to 23"),
        (24, bytes(25), "25 bytes follow the JSON"),
        (20, bytes(20), "size in bytes of input 'x' is 20; it must be 24"),
        (-1, bytes(24), "binary_data_size is -1"),
        (24.0, bytes(24), "binary_data_size is 24.0"),
        (True, bytes(24), "binary_data_size is True"),
        (10**30, bytes(24), "binary_data_size is 1000"),
        ("24", bytes(24), "binary_data_size is '24'"),
    ],
)
def test_binary_sizes_must_be_exact(server, size: object, tail: bytes, message: str) -> None:
    status, _, answer = server.request("POST", TWICE, *binary_request(size, tail))
    assert status == 400
    assert message in json.loads(answer)["error"]


@pytest.mark.parametrize("length", ["-1", "x", "", "1e3", "99999999999999999999", "²", "100000", "0", "5"])
def test_the_length_of_the_json_must_be_one(server, length: str) -> None:
    body, headers = binary_request(24, bytes(24))
    headers = {"Inference-Header-Content-Length": length.encode().decode("latin-1")}
    status, _, answer = server.request("POST", TWICE, body, headers)
    assert status == 400
    assert json.loads(answer).keys() == {"error"}


def test_bytes_that_are_no_bools_are_refused(server) -> None:
    body, headers = binary_request(6, b"\0\1\0\1\0\7", datatype="BOOL")
    status, _, answer = server.request("POST", "/v2/models/twice_bool/infer", body, headers)
    assert (status, "other than 0 and 1" in json.loads(answer)["error"]) == (400, True)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        None,
        5,
        {"inputs": {}},
        {"inputs": [5]},
        {"inputs": None},
        {"inputs": [X], "outputs": {}},
        {"inputs": [X], "outputs": [{"name": ["y"]}]},
        {"inputs": [X], "outputs": [{"name": "z"}]},
        {"inputs": [X], "outputs": [{"name": "y"}, {"name": "y"}]},
        {"inputs": [X], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
        {"inputs": [X], "parameters": []},
        {"inputs": [X], "parameters": {"binary_data_output": "yes"}},
        {"inputs": [X], "id": 5},
        {"inputs": [X | {"name": ["x"]}]},
        {"inputs": [X | {"name": None}]},
        {"inputs": [X | {"datatype": "fp32"}]},
        {"inputs": [X | {"datatype": ["FP32"]}]},
        {"inputs": [X | {"shape": [2.0, 3]}]},
        {"inputs": [X | {"shape": "23"}]},
        {"inputs": [X | {"shape": [-2, -3]}]},
        {"inputs": [X | {"shape": None}]},
        {"inputs": [X | {"data": "abcdef"}]},
        {"inputs": [X | {"data": None}]},
        {"inputs": [X | {"data": [1, 2, 3, 4, 5, True]}]},
        {"inputs": [X | {"parameters": {"binary_data_size": 0}}]},
    ],
)
def test_json_of_another_form_is_refused(server, content: object) -> None:
    status, _, answer = server.request("POST", TWICE, json.dumps(content))
    assert status == 400, answer
    assert json.loads(answer).keys() == {"error"}
    assert not server.engine.started.is_set()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{",
        b'{"inputs":' + b"[" * 50_000,
        b'{"inputs":' + b"9" * 5_000 + b"}",
        b"nul",
        b'{"a":"\xff"}',
    ],
)
def test_what_is_not_json_is_refused(server, body: bytes) -> None:
    status, _, answer = server.request("POST", TWICE, body)
    assert status == 400
    assert json.loads(answer).keys() == {"error"}
