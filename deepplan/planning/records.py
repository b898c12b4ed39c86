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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from deepplan.errors import InvalidInputError

Check = Callable[[Any, str], Any]  # takes a value and what to call it, returns the value as it is to be kept


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
PositiveBytes = Annotated[int, Range(1, 2**53)]

# The metadata of a field that documents written before it do not have, though of the same version: `field(default=...,
# metadata=ADDED)`. Where it has its default it is not written.
ADDED = types.MappingProxyType({"added": True})


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


@cache
def added_fields(record: type) -> dict[str, Any]:
    """The default of each field of a dataclass that was `ADDED`."""
    return {field.name: field.default for field in fields(record) if field.metadata.get("added")}


def coerce(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `hint` wants it, or InvalidInputError naming `where`."""
    return _check_of(hint)(value, where)


@cache
def _check_of(hint: Any) -> Check:
    """The function that checks values of the annotation `hint`: made once, since plans have thousands of fields."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _in_range(*get_args(hint))
    if origin in (Union, types.UnionType):
        given = _check_of(_without_none(hint))
        return lambda value, where: None if value is None else given(value, where)
    if origin is Literal:
        return _one_of(get_args(hint))
    if origin is tuple:
        return _list_of(_check_of(get_args(hint)[0]))
    return {float: _finite, int: _integer}.get(hint) or _instance_of(hint)


def _in_range(base: Any, limits: Range) -> Check:
    number = _check_of(base)

    def check(value: Any, where: str) -> Any:
        value = number(value, where)
        if not limits.low <= value <= limits.high:
            raise refusal(where, value, f"a number from {limits.low:g} to {limits.high:g}")
        return value

    return check


def _one_of(choices: tuple[Any, ...]) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise refusal(where, value, " or ".join(repr(choice) for choice in choices))
        return value

    return check


def _list_of(item: Check) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            raise refusal(where, value, "a list")
        return tuple(item(element, f"{where}[{i}]") for i, element in enumerate(value))

    return check


def _instance_of(kind: type) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, kind):
            raise refusal(where, value, "text" if kind is str else f"a {kind.__name__}")
        return value

    return check


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
        if key not in data and key not in added_fields(record):
            raise InvalidInputError(f"{where}: the key {key!r} is missing")
    values = {key: from_json(hint, data[key], f"{where}.{key}") for key, hint in expected.items() if key in data}
    try:
        return record(**values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from None


def refusal(where: str, value: Any, expected: str) -> InvalidInputError:
    """The error for a value that is not what is `expected`; long values are shortened."""
    return InvalidInputError(f"{where} is {reprlib.repr(value)}; it must be {expected}")


def _finite(value: Any, where: str) -> float:
    if type(value) is float and math.isfinite(value):
        return value
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
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise refusal(where, value, "a whole number")
    return operator.index(value)


def _without_none(hint: Any) -> Any:
    return next(choice for choice in get_args(hint) if choice is not type(None))
