"""Quantities as they are written in flags and in deployment files: `100ms`, `3h`, `10.5GiB`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from deepplan.errors import InvalidInputError

_UNITS_MS: Mapping[str, float] = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "min": 60e3, "h": 3600e3, "d": 86400e3}
_UNITS_BYTES: Mapping[str, float] = {
    "B": 1,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([A-Za-z]+)")
_MAX_MS, _MAX_BYTES = 366 * 86400e3, 2**53


def duration_ms(name: str, text: str) -> float:
    """The duration in `text`, from 1 us to a year, in ms. Raises InvalidInputError, which calls it `name`."""
    value_ms = _value(name, text, _UNITS_MS, "a duration such as 100ms, 90s, 15min or 3h")
    if not 1e-3 <= value_ms <= _MAX_MS:
        raise InvalidInputError(f"{name} {text}: it is a duration from 1us to 366d")
    return value_ms


def size_bytes(name: str, text: str) -> int:
    """The size in `text`, rounded to whole bytes, at least one. Raises InvalidInputError, which calls it `name`.

    KB, MB, ... are powers of 1000 and KiB, MiB, ... of 1024.
    """
    value = _value(name, text, _UNITS_BYTES, "a size such as 512MiB or 10.5GiB")
    if not 1 <= value <= _MAX_BYTES:
        raise InvalidInputError(f"{name} {text}: it is a size from 1B to 8192TiB")
    return round(value)


def _value(name: str, text: str, units: Mapping[str, float], expected: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        shown = text if len(text) <= 40 else text[:40] + "..."
        raise InvalidInputError(f"{name} {shown}: it is {expected}; units are {', '.join(units)}")
    return float(match[1]) * units[match[2]]
