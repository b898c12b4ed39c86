"""Messages between a server and the process its engine runs in: a JSON header, and tensors as they are.

On the wire a frame is PREFIX (the bytes of the header and of the payload, little-endian), the header, and the tensors'
elements one after the other. The header says what they are, so nothing is unpickled or guessed. Both ends are of one
version, and still whatever does not fit raises InvalidInputError, where it is written and where it is read.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

from deepplan import errors
from deepplan.errors import DeepPlanError, InvalidInputError, OverloadedError
from deepplan.planning.records import coerce, field_types, refusal
from deepplan.serving.inference import ITEM_SIZE_BYTES, EngineStatus, Inference, ModelMetadata, TensorData

PREFIX = struct.Struct("<IQ")
MAX_HEADER_BYTES = 16 << 20
MAX_PAYLOAD_BYTES = 4 << 30  # a mistaken length is refused before memory is taken for it
_MAX_DIMENSION = 1 << 62
_MAX_DIMENSIONS = 64  # torch's own limit; products stay short

Header = dict[str, Any]
Message = tuple[Header, tuple[TensorData, ...]]
_T = TypeVar("_T")

_to_json = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

_ERRORS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}


def encode(header: Header, tensors: Sequence[TensorData] = ()) -> list[bytes | memoryview]:
    """The frame in parts, none of them empty, to be written one after the other. Tensors are not copied."""
    parts = [memoryview(tensor.data) for tensor in tensors]
    for tensor, part in zip(tensors, parts):
        if part.nbytes != _size_bytes(tensor.datatype, tensor.shape):
            raise refusal(f"the size of tensor {tensor.name}", part.nbytes, f"that of {tensor.datatype}{tensor.shape}")
    payload_bytes = sum(part.nbytes for part in parts)
    if tensors:
        header = {**header, "tensors": [(tensor.name, tensor.datatype, tensor.shape) for tensor in tensors]}
    text = _to_json(header).encode()
    check_lengths(len(text), payload_bytes)
    return [PREFIX.pack(len(text), payload_bytes), text, *(part.cast("B") for part in parts if part.nbytes)]


def check_lengths(header_bytes: int, payload_bytes: int) -> None:
    """Of one frame."""
    if header_bytes > MAX_HEADER_BYTES:
        raise refusal("the header's size", header_bytes, f"at most {MAX_HEADER_BYTES} bytes")
    if payload_bytes > MAX_PAYLOAD_BYTES:
        raise refusal("the tensors' size", payload_bytes, f"at most {MAX_PAYLOAD_BYTES} bytes")


def decode(text: bytes | memoryview, payload: bytes | memoryview) -> Message:
    """What `encode` was given; the tensors lie in `payload`."""
    try:
        header = json.loads(str(text, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"a header that is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise refusal("a header", header, "an object")
    return header, _tensors(header.pop("tensors", []), memoryview(payload))


def _tensors(described: object, payload: memoryview) -> tuple[TensorData, ...]:
    if not isinstance(described, list):
        raise refusal("tensors", described, "a list")
    tensors, begin = [], 0
    for item in described:
        if not isinstance(item, list) or len(item) != 3 or not isinstance(item[0], str):
            raise refusal("a tensor", item, "its name, datatype and shape")
        name, datatype, shape = item
        end = begin + _size_bytes(datatype, shape)
        tensors.append(TensorData(name, datatype, tuple(shape), payload[begin:end]))
        begin = end
    if begin != len(payload):
        raise refusal("the tensors' size", len(payload), f"{begin} bytes, as their header has it")
    return tuple(tensors)


def _size_bytes(datatype: object, shape: object) -> int:
    if not isinstance(datatype, str) or datatype not in ITEM_SIZE_BYTES:
        raise refusal("a datatype", datatype, f"one of {', '.join(ITEM_SIZE_BYTES)}")
    if not isinstance(shape, (list, tuple)) or len(shape) > _MAX_DIMENSIONS:
        raise refusal("a shape", shape, f"a list of at most {_MAX_DIMENSIONS} sizes")
    if not all(type(size) is int and 0 <= size < _MAX_DIMENSION for size in shape):
        raise refusal("a shape", shape, "a list of sizes")
    return ITEM_SIZE_BYTES[datatype] * math.prod(shape)


def answer_header(answer: Inference) -> Header:
    """All of an answer but its outputs."""
    return {name: getattr(answer, name) for name in _answer_fields()}


def answer_of(header: Header, outputs: tuple[TensorData, ...]) -> Inference:
    """The answer whose header and outputs came."""
    return Inference(outputs, **{name: read(hint, header.get(name), name) for name, hint in _answer_fields().items()})


@cache
def _answer_fields() -> dict[str, Any]:
    return {name: hint for name, hint in field_types(Inference).items() if name != "outputs"}


def error_header(error: Exception) -> Header:
    """An error by its name in `deepplan.errors`; what is not raised on purpose has none there."""
    header = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, OverloadedError) and math.isfinite(error.retry_after_s):
        return {**header, "retry_after_s": error.retry_after_s}
    return header


def error_of(header: Header) -> Exception:
    """An error of the same type and attributes; RuntimeError for what is not one of deepplan's own."""
    name, message = read(str, header.get("error"), "error"), read(str, header.get("message"), "message")
    kind = _ERRORS.get(name)
    if kind is None:
        return RuntimeError(f"{name} in the engine's process: {message}")
    if issubclass(kind, OverloadedError):
        retry_after_s = header.get("retry_after_s")
        return kind(message, math.inf if retry_after_s is None else read(float, retry_after_s, "retry_after_s"))
    assert issubclass(kind, DeepPlanError)
    return kind(message)


def metadata_of(data: object) -> ModelMetadata:
    """From what `dataclasses.asdict` made of it."""
    return read(ModelMetadata, data, "model")


def status_of(data: object) -> EngineStatus:
    """From what `dataclasses.asdict` made of it."""
    return read(EngineStatus, data, "status")


def read(hint: type[_T], data: object, where: str) -> _T:
    """JSON data as the annotation has it, plain dataclasses and mappings included; all of it is checked."""
    result: _T = _read(hint, data, where)
    return result


def _read(hint: Any, data: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        expected = field_types(hint)
        if not isinstance(data, dict) or data.keys() != expected.keys():
            raise refusal(where, data, f"an object of {', '.join(expected)}")
        return hint(**{key: _read(kind, data[key], f"{where}.{key}") for key, kind in expected.items()})
    if get_origin(hint) is tuple:
        if not isinstance(data, (list, tuple)):
            raise refusal(where, data, "a list")
        return tuple(_read(get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if get_origin(hint) is Mapping:
        if not isinstance(data, dict):
            raise refusal(where, data, "an object")
        return {key: _read(get_args(hint)[1], value, f"{where}[{key!r:.40}]") for key, value in data.items()}
    return coerce(hint, data, where)
