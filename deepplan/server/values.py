"""Tensor elements as a client writes them one by one, in JSON or in the typed fields of gRPC, and as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from deepplan.errors import InvalidInputError
from deepplan.planning.records import refusal
from deepplan.serving.inference import TensorSpec

# What elements may be written in text. The 16-bit floating point types are not among them: the protocol sends those
# as bytes only.
_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
_TYPES: dict[str, frozenset[type]] = {"b": frozenset([bool]), "f": frozenset([int, float])}
_WHOLE = frozenset([int])


def has_text_form(datatype: str) -> bool:
    """Whether elements of this type can be written in JSON."""
    return datatype in _DTYPES


def encode(spec: TensorSpec, data: Sequence[Any]) -> bytes:
    """The bytes of a tensor whose elements are listed in C order, or nested by its shape.

    NaN and the infinities are numbers to the floating point types. Raises InvalidInputError for anything that is not
    exactly an element of the type: a bool for a number, a number out of range, lists of other lengths.
    """
    dtype = _DTYPES.get(spec.datatype)
    if dtype is None:
        raise InvalidInputError(
            f"input {spec.name!r} is {spec.datatype}, which has no text form; send it as binary data"
        )
    elements = _flatten(spec, data)
    allowed = _TYPES.get(dtype.kind, _WHOLE)
    if not allowed.issuperset(map(type, elements)):
        first = next(i for i, element in enumerate(elements) if type(element) not in allowed)
        raise refusal(f"element {first} of input {spec.name!r}", elements[first], f"of type {spec.datatype}")
    if dtype.kind == "f":
        return _encode_floats(spec, dtype, elements)
    if dtype.kind != "b" and elements:
        limits = np.iinfo(dtype)
        for extreme in (min(elements), max(elements)):
            if not limits.min <= extreme <= limits.max:
                expected = f"from {limits.min} to {limits.max}, as {spec.datatype} is"
                raise refusal(f"an element of input {spec.name!r}", extreme, expected)
    return np.array(elements, dtype).tobytes()


def decode(datatype: str, data: bytes | bytearray | memoryview) -> list[Any]:
    """The elements of a tensor in C order; `datatype` must have a text form."""
    elements: list[Any] = np.frombuffer(data, _DTYPES[datatype]).tolist()
    return elements


def check_bools(spec: TensorSpec, data: bytes | memoryview) -> None:
    """Raises InvalidInputError unless every byte is 0 or 1: other bytes are no bool to the operators that read them."""
    if np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise InvalidInputError(f"input {spec.name!r} is BOOL and has bytes other than 0 and 1")


def _flatten(spec: TensorSpec, data: Sequence[Any]) -> Sequence[Any]:
    """Level by level, as deep as the shape and no deeper, whatever the client nested."""
    if not data or type(data[0]) is not list:
        if len(data) != prod(spec.shape):
            expected = f"{prod(spec.shape)}, those of shape {list(spec.shape)}"
            raise refusal(f"the number of elements of input {spec.name!r}", len(data), expected)
        return data
    rows: list[Any] = [data]
    for length in spec.shape:
        if not all(type(row) is list and len(row) == length for row in rows):
            raise InvalidInputError(
                f"input {spec.name!r} is not nested by its shape {list(spec.shape)}; do so, or do not nest at all"
            )
        rows = list(chain.from_iterable(rows))
    return rows


def _encode_floats(spec: TensorSpec, dtype: np.dtype[Any], elements: Sequence[Any]) -> bytes:
    try:
        wide: npt.NDArray[np.float64] = np.array(elements, np.float64)
    except OverflowError:  # a whole number of hundreds of digits
        raise _beyond(spec) from None
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    if not np.array_equal(np.isinf(wide), np.isinf(narrow)):
        raise _beyond(spec)
    return narrow.tobytes()


def _beyond(spec: TensorSpec) -> InvalidInputError:
    return InvalidInputError(f"input {spec.name!r} has a number that is beyond the range of {spec.datatype}")
