"""What is said between a server and its engine's process, and what neither believes."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepplan import errors
from deepplan.errors import InvalidInputError, OverloadedError, RunError, UnavailableError, UnknownNameError
from deepplan.serving.inference import (
    ITEM_SIZE_BYTES,
    EngineStatus,
    GpuStatus,
    Inference,
    ModelMetadata,
    TensorData,
    TensorSpec,
)
from deepplan.serving.messages import (
    MAX_PAYLOAD_BYTES,
    PREFIX,
    Header,
    Message,
    answer_header,
    answer_of,
    check_lengths,
    decode,
    encode,
    error_header,
    error_of,
    metadata_of,
    status_of,
)

METADATA = ModelMetadata("m", (TensorSpec("x", "FP32", (1, 4)),), (TensorSpec("y", "INT64", ()),))


@st.composite
def tensors(draw: st.DrawFn) -> TensorData:
    datatype = draw(st.sampled_from(sorted(ITEM_SIZE_BYTES)))
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    size_bytes = ITEM_SIZE_BYTES[datatype] * math.prod(shape)
    data = draw(st.binary(min_size=size_bytes, max_size=size_bytes))
    return TensorData(
        draw(st.text()), datatype, tuple(shape), draw(st.sampled_from([bytes, bytearray, memoryview]))(data)
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def passed(header: Header, given_tensors: tuple[TensorData, ...] = ()) -> Message:
    """What arrives of it."""
    frame = b"".join(encode(header, given_tensors))
    header_bytes, payload_bytes = PREFIX.unpack_from(frame)
    text, payload = frame[PREFIX.size :][:header_bytes], frame[PREFIX.size + header_bytes :]
    assert len(payload) == payload_bytes
    return decode(text, payload)


@given(st.dictionaries(st.text().filter(lambda key: key != "tensors"), json_values), st.lists(tensors()))
def test_what_is_sent_arrives(header: Header, sent: list[TensorData]) -> None:
    arrived_header, arrived = passed(header, tuple(sent))
    assert arrived_header == header
    assert [dataclasses.replace(tensor, data=bytes(tensor.data)) for tensor in arrived] == [
        dataclasses.replace(tensor, data=bytes(tensor.data)) for tensor in sent
    ]


@given(st.binary(), st.binary())
def test_noise_is_refused_or_is_a_message(text: bytes, payload: bytes) -> None:
    try:
        header, arrived = decode(text, payload)
    except InvalidInputError:
        return
    assert isinstance(header, dict) and sum(len(tensor.data) for tensor in arrived) == len(payload)


@given(st.dictionaries(st.sampled_from(["tensors", "kind", "id"]), json_values), st.binary(max_size=20))
def test_any_json_is_refused_or_is_a_message(header: Header, payload: bytes) -> None:
    try:
        _, arrived = decode(json.dumps(header).encode(), payload)
    except InvalidInputError:
        return
    assert sum(len(tensor.data) for tensor in arrived) == len(payload)


@pytest.mark.parametrize(
    ("text", "payload", "said"),
    [
        (b"", b"", "no JSON"),
        (b"\xff", b"", "no JSON"),
        (b"[" * 100_000, b"", "no JSON"),
        (b"[]", b"", "an object"),
        (b'{"tensors": 3}', b"", "a list"),
        (b'{"tensors": [["x", "FP32"]]}', b"", "its name, datatype and shape"),
        (b'{"tensors": [["x", "BYTES", [1]]]}', b"1", "one of BOOL"),
        (b'{"tensors": [["x", "INT8", [-1]]]}', b"", "a list of sizes"),
        (b'{"tensors": [["x", "INT8", [true]]]}', b"1", "a list of sizes"),
        (b'{"tensors": [["x", "INT8", [1.0]]]}', b"1", "a list of sizes"),
        (b'{"tensors": [["x", "INT8", [9999999999999999999999]]]}', b"1", "a list of sizes"),
        (json.dumps({"tensors": [["x", "INT8", [1] * 65]]}).encode(), b"1", "at most 64"),
        (b'{"tensors": [["x", "INT8", [3]]]}', b"12", "size is 2; it must be 3 bytes"),
        (b'{"tensors": [["x", "INT8", [1]]]}', b"12", "size is 2; it must be 1 bytes"),
        (b"{}", b"1", "size is 1; it must be 0 bytes"),
    ],
)
def test_what_does_not_fit_is_refused(text: bytes, payload: bytes, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        decode(text, payload)


def test_nothing_wrong_is_written() -> None:
    with pytest.raises(InvalidInputError, match="size of tensor x is 3"):
        encode({}, [TensorData("x", "FP32", (1,), b"123")])
    with pytest.raises(InvalidInputError, match="one of BOOL"):
        encode({}, [TensorData("x", "BYTES", (1,), b"1")])
    with pytest.raises(InvalidInputError, match="header's size"):
        encode({"message": "x" * (17 << 20)})
    with pytest.raises(InvalidInputError, match="tensors' size"):
        check_lengths(1, MAX_PAYLOAD_BYTES + 1)


def test_answers_arrive() -> None:
    answer = Inference((TensorData("y", "INT8", (2,), b"ab"),), 1, True, 4, False, 0.5, 2.25)
    header, outputs = passed({"answer": answer_header(answer)}, answer.outputs)
    assert answer_of(header["answer"], outputs) == answer
    for wrong in (
        {},
        {**header["answer"], "gpu": "1"},
        {**header["answer"], "cold": 1},
        {**header["answer"], "gpu": None},
    ):
        with pytest.raises(InvalidInputError):
            answer_of(wrong, outputs)


def test_descriptions_arrive() -> None:
    status = EngineStatus((GpuStatus("host:0", 5, 3, ("m",), 2),), 7, 6, 1, {"pcie": 9}, 2)
    header, _ = passed({"model": dataclasses.asdict(METADATA), "status": dataclasses.asdict(status)})
    assert metadata_of(header["model"]) == METADATA
    assert status_of(header["status"]) == status
    for change in ({"gpus": 3}, {"gpus": [3]}, {"path_bytes": {"pcie": "9"}}, {"path_bytes": []}, {"more": 1}):
        with pytest.raises(InvalidInputError):
            status_of({**header["status"], **change})


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("later", 1.5),
        OverloadedError("never", math.inf),
        RunError("failed"),
        UnavailableError("gone"),
        UnknownNameError("no 'é'"),
        errors.OutOfMemoryError("full"),
    ],
)
def test_errors_arrive(error: Exception) -> None:
    arrived = error_of(passed(error_header(error))[0])
    assert type(arrived) is type(error) and str(arrived) == str(error) and vars(arrived) == vars(error)


def test_a_defect_arrives_as_one() -> None:
    arrived = error_of(passed(error_header(ZeroDivisionError("by zero")))[0])
    assert type(arrived) is RuntimeError and str(arrived) == "ZeroDivisionError in the engine's process: by zero"
    assert type(error_of({"error": "annotations", "message": ""})) is RuntimeError
    with pytest.raises(InvalidInputError):
        error_of({"error": "RunError"})
