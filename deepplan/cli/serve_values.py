"""How values of `deepplan serve`'s settings are written, in flags and in deployment files alike.

Every function takes what the setting is called, what was given and the folder that relative paths are of; all raise
InvalidInputError.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepplan import models
from deepplan.cli.quantities import duration_ms, size_bytes
from deepplan.errors import InvalidInputError
from deepplan.planning.records import field_types, refusal
from deepplan.server.settings import ServerSettings
from deepplan.serving.deployment import ServedSource

Value = Callable[[str, Any, str], Any]

_DEVICE = re.compile(r"(?:(?:cuda|host):)?[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_MAX_TOKEN_BYTES = 4096


def as_it_is(name: str, value: Any, folder: str) -> Any:
    """Any value: its field knows what it may be."""
    return value


def whole_number(name: str, value: Any, folder: str) -> Any:
    """A number, as text too."""
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def milliseconds(name: str, value: Any, folder: str) -> float:
    """The number in `100ms`."""
    return duration_ms(name, _text(name, value, "a duration such as 100ms or 30s"))


def seconds(name: str, value: Any, folder: str) -> float:
    """The number in `30s`."""
    return milliseconds(name, value, folder) / 1e3


def byte_count(name: str, value: Any, folder: str) -> int:
    """The number in `10.5GiB`."""
    return size_bytes(name, _text(name, value, "a size such as 512MiB or 10.5GiB"))


def path(name: str, value: Any, folder: str) -> str:
    """A path, relative to `folder` unless it is absolute."""
    return os.path.join(folder, _text(name, value, "a path"))


def device_names(name: str, value: Any, folder: str) -> list[str]:
    """`0,1` or a list: GPUs by index, or devices by name. Whether they are there only torch can tell."""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list):
        raise refusal(name, value, "a list of GPUs such as 0,1,2,3")
    devices = [str(device) if type(device) in (int, str) else "" for device in given]
    if not all(map(_DEVICE.fullmatch, devices)):
        raise refusal(name, value, "a list of GPUs such as 0,1,2,3, or of cuda:INDEX or host:INDEX")
    twice = [device for device, count in Counter(devices).items() if count > 1]
    if twice:
        raise InvalidInputError(f"{name}: the device {twice[0]} is named twice; name each once")
    return devices


def batch_sizes(name: str, value: Any, folder: str) -> tuple[int, ...]:
    """`1,2,4`, or a list."""
    sizes = value
    if isinstance(value, str):
        if not all(map(_NUMBER.fullmatch, value.split(","))):
            raise refusal(name, value, "a list of numbers such as 1,2,4")
        sizes = [int(number) for number in value.split(",")]
    try:
        return ServedSource("any", batch_sizes=sizes).batch_sizes
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from None


def token(name: str, value: Any, folder: str) -> str:
    """What the file says, without blanks and line ends around it: processes' arguments are seen by everybody."""
    file_path = path(name, value, folder)
    try:
        with Path(file_path).open("rb") as file:
            content = file.read(_MAX_TOKEN_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        why = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{name} {file_path}: cannot be read ({why}); name a readable file") from None
    if len(content) > _MAX_TOKEN_BYTES:
        raise InvalidInputError(f"{name} {file_path}: no token is longer than {_MAX_TOKEN_BYTES} bytes")
    text = content.decode(errors="replace").strip()
    try:
        ServerSettings(token=text)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name} {file_path}: {error}") from None
    return text


def model(name: str, value: Any, folder: str) -> dict[str, Any]:
    """A zoo name or a path, or a mapping of ServedSource's fields; complete but for what it leaves to others."""
    fields = {"source": value} if isinstance(value, str) else value
    if not isinstance(fields, dict):
        raise refusal(name, value, "a model's name or path, or a mapping with its source")
    known = field_types(ServedSource)
    for key in fields:
        if key not in known:
            raise InvalidInputError(f"{name}: unknown key {key[:80]!r}; known are {', '.join(known)}")
    if "source" not in fields:
        raise InvalidInputError(f"{name}: the key 'source' is missing; it is a zoo name or a path")
    try:
        ServedSource(**fields)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from None
    located = {key: os.path.join(folder, fields[key]) for key in ("source", "weights") if fields.get(key) is not None}
    if fields["source"] in models.names():
        located["source"] = fields["source"]
    return {**fields, **located}


def _text(name: str, value: Any, expected: str) -> str:
    if not isinstance(value, str):
        raise refusal(name, value, expected)
    return value
