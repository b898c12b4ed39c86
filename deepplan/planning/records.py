"""Records: frozen dataclasses that check every field against its annotation when one is made.

One mechanism serves objects written by hand and objects read from documents, so both are refused for the same reasons:
numbers must be finite and inside the `Range` of their annotation, a bool is no number, a sequence becomes a tuple.
"""

from __future__ import annotations

import math
import numbers
import operator
import reprlib
import types
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from deepplan.errors import InvalidInputError


@dataclass(frozen=True)
class Range:
    """The closed interval a number must lie in. Upper ends are far beyond any hardware: they keep sums finite."""

    low: float
    high: float


Milliseconds = Annotated[float, Range(0, 1e12)]
Bytes = Annotated[int, Range(0, 2**53)]
Gbps = Annotated[float, Range(1e-6, 1e6)]
Index = Annotated[int, Range(0, 2**31)]
IndexOrNone = Annotated[int, Range(-1, 2**31)]  # -1: does not apply
Count = Annotated[int, Range(1, 2**31)]


@dataclass(frozen=True)
class Record:
    """Base of the planner's data. Raises InvalidInputError naming the field and the value."""

    def __post_init__(self) -> None:
        record: type = type(self)
        for name, hint in field_types(record).items():
            object.__setattr__(self, name, coerce(hint, getattr(self, name), name))


@cache
def field_types(record: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass, in order."""
    hints = get_type_hints(record, include_extras=True)
    return {field.name: hints[field.name] for field in fields(record)}


def coerce(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `hint` wants it, or InvalidInputError naming `where`."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, limits = get_args(hint)
        value = coerce(base, value, where)
        if not limits.low <= value <= limits.high:
            raise refusal(where, value, f"a number from {limits.low:g} to {limits.high:g}")
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else coerce(_without_none(hint), value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise refusal(where, value, " or ".join(repr(choice) for choice in get_args(hint)))
        return value
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            raise refusal(where, value, "a list")
        item = get_args(hint)[0]
        return tuple(coerce(item, element, f"{where}[{i}]") for i, element in enumerate(value))
    if hint is float:
        return _finite(value, where)
    if hint is int:
        return _integer(value, where)
    if not isinstance(value, hint):
        raise refusal(where, value, "text" if hint is str else f"a {hint.__name__}")
    return value


def from_json(hint: Any, data: Any, where: str) -> Any:
    """JSON data as the annotation `hint` wants it: objects become records; `coerce` sees to everything else."""
    if is_dataclass(hint):
        return _record_from_json(hint, data, where)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType) and data is not None:
        return from_json(_without_none(hint), data, where)
    if origin is tuple and isinstance(data, list):
        return tuple(from_json(get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    return data


def _record_from_json(record: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise refusal(where, data, "an object")
    expected = field_types(record)
    for key in data:
        if key not in expected:
            raise InvalidInputError(f"{where}: unknown key {key!r}; known are {', '.join(expected)}")
    for key in expected:
        if key not in data:
            raise InvalidInputError(f"{where}: the key {key!r} is missing")
    values = {key: from_json(hint, data[key], f"{where}.{key}") for key, hint in expected.items()}
    try:
        return record(**values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from None


def refusal(where: str, value: Any, expected: str) -> InvalidInputError:
    """The error for a value that is not what is `expected`; long values are shortened."""
    return InvalidInputError(f"{where} is {reprlib.repr(value)}; it must be {expected}")


def _finite(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise refusal(where, value, "a number")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise refusal(where, value, "a finite number")
    return result


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise refusal(where, value, "a whole number")
    return operator.index(value)


def _without_none(hint: Any) -> Any:
    return next(choice for choice in get_args(hint) if choice is not type(None))
