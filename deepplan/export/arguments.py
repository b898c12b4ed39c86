"""What a step of a graph may be given, and how that is written in JSON.

Plain values stand for themselves: None, bool, int (64 bits), float, complex, str, and tuples of any of these. What
has a meaning of its own is tagged by one of the six small classes below. JSON has no infinities, no complex numbers
and no tags; they become objects of one key, `{"slot": 3}`, so that nothing else in a document is ambiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from deepplan.errors import DocumentError
from deepplan.export.dtypes import ITEM_SIZE_BYTES

MAX_DEPTH = 8  # nested lists in an operator's argument; ATen has none deeper than two
MEMORY_FORMATS = ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
LAYOUTS = ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "_mkldnn", "jagged")


@dataclass(frozen=True)
class Slot:
    """A value computed by an earlier step, or an input: its index among the graph's value slots."""

    index: int


@dataclass(frozen=True)
class WeightRef:
    """A weight: its index in `Graph.weights`."""

    index: int


@dataclass(frozen=True)
class DType:
    """An element type, by PyTorch's name for it: "float32"."""

    name: str


@dataclass(frozen=True)
class Device:
    """Where an operator puts its result: "target" is whichever device the session runs on, "cpu" is always the CPU."""

    kind: str


@dataclass(frozen=True)
class MemoryFormat:
    """A memory format, by PyTorch's name for it: "channels_last"."""

    name: str


@dataclass(frozen=True)
class Layout:
    """A layout, by PyTorch's name for it: "strided"."""

    name: str


Tag: TypeAlias = Slot | WeightRef | DType | Device | MemoryFormat | Layout
Argument: TypeAlias = bool | int | float | complex | str | Tag | tuple[Any, ...] | None

_FIELDS: dict[type, tuple[str, str]] = {
    Slot: ("slot", "index"),
    WeightRef: ("weight", "index"),
    DType: ("dtype", "name"),
    Device: ("device", "kind"),
    MemoryFormat: ("memory_format", "name"),
    Layout: ("layout", "name"),
}


def encode(value: Argument) -> Any:
    """`value` as JSON data."""
    if type(value) in _FIELDS:
        tag, field = _FIELDS[type(value)]
        return {tag: getattr(value, field)}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, complex):
        return {"complex": [_encode_float(value.real), _encode_float(value.imag)]}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    return value


def decode(data: Any, depth: int = 0) -> Argument:
    """The argument that `data` (parsed JSON) stands for. Raises DocumentError for anything else."""
    if data is None or isinstance(data, (bool, str, float)):
        return data
    if isinstance(data, int):
        return int64(data)
    if isinstance(data, list):
        if depth >= MAX_DEPTH:
            raise DocumentError(f"an argument nests lists more than {MAX_DEPTH} deep")
        return tuple(decode(item, depth + 1) for item in data)
    if isinstance(data, dict) and len(data) == 1:
        ((tag, value),) = data.items()
        if tag in _DECODERS:
            return _DECODERS[tag](value)
    raise DocumentError(f"not an argument of a step: {str(data)[:80]!r}")


def int64(value: Any) -> int:
    """`value` if it is an integer of 64 bits. Raises DocumentError otherwise."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise DocumentError(f"not a 64-bit integer: {str(value)[:40]!r}")
    return value


def index(value: Any) -> int:
    """`value` if it can be an index. Raises DocumentError otherwise."""
    if int64(value) < 0:
        raise DocumentError(f"an index cannot be negative: {value}")
    return int(value)


def _encode_float(value: float) -> Any:
    return value if math.isfinite(value) else str(value)


def _decode_float(value: Any) -> float:
    if value in ("inf", "-inf", "nan"):
        return float(value)
    if type(value) is float:
        return value
    raise DocumentError(f"not a floating-point number: {str(value)[:40]!r}")


def _decode_complex(value: Any) -> complex:
    if isinstance(value, list) and len(value) == 2:
        return complex(_decode_float(value[0]), _decode_float(value[1]))
    raise DocumentError(f"not a complex number: {str(value)[:40]!r}")


def _one_of(names: tuple[str, ...], what: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise DocumentError(f"not a {what}: {str(value)[:40]!r}; one of {', '.join(names)}")
        return value

    return check


dtype_name = _one_of(tuple(ITEM_SIZE_BYTES), "dtype")
_device_kind = _one_of(("target", "cpu"), "device")
_memory_format = _one_of(MEMORY_FORMATS, "memory format")
_layout = _one_of(LAYOUTS, "layout")

_DECODERS: dict[str, Callable[[Any], Argument]] = {
    "slot": lambda value: Slot(index(value)),
    "weight": lambda value: WeightRef(index(value)),
    "dtype": lambda value: DType(dtype_name(value)),
    "device": lambda value: Device(_device_kind(value)),
    "memory_format": lambda value: MemoryFormat(_memory_format(value)),
    "layout": lambda value: Layout(_layout(value)),
    "float": _decode_float,
    "complex": _decode_complex,
}
