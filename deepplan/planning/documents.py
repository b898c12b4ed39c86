"""Versioned JSON documents on disk: how profiles, plans and timelines are saved and loaded.

A document is one JSON object with "format" and "version" first. Fields that were added to a version are written where
they are used only, so that what does not use them is the same for every deepplan of that version. Reading is strict:
whatever was truncated, edited by hand into nonsense or written by a newer version is refused with the file, the key and
the value. Writing is atomic: an interrupted save leaves the old file, or none.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from deepplan.errors import DocumentError, InvalidInputError
from deepplan.planning.records import Record, added_fields, from_json

D = TypeVar("D", bound="Document")


@dataclass(frozen=True)
class Document(Record):
    """A record that can be saved to and loaded from a file of its own."""

    FORMAT: ClassVar[str]
    VERSION: ClassVar[int]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the document to `path`. Raises InvalidInputError if that cannot be written."""
        write_atomically(path, self.to_text())

    @classmethod
    def load(cls: type[D], path: str | os.PathLike[str]) -> D:
        """Reads the document at `path`. Raises DocumentError, naming the file, if there is no sound one."""
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise DocumentError(f"cannot read {os.fspath(path)}: {error.strerror}") from None
        return cls.from_text(text, os.fspath(path))

    def to_text(self) -> str:
        """The document as JSON text, one layer a line. No newline follows: every proper prefix is unreadable."""
        return _format({"format": self.FORMAT, "version": self.VERSION, **_to_data(self)})

    @classmethod
    def from_text(cls: type[D], text: str | bytes, name: str = "the document") -> D:
        """The document in `text`; `name` is what errors call it. Raises DocumentError."""
        kind = cls.__name__.lower()
        try:
            data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise DocumentError(f"{name} is not a {kind}: it is no JSON document ({error}); make it again") from None
        if not isinstance(data, dict) or data.get("format") != cls.FORMAT:
            found = data.get("format") if isinstance(data, dict) else data
            raise DocumentError(f'{name} is not a {kind}: "format" is {str(found)[:60]!r}, not "{cls.FORMAT}"')
        version = data.get("version")
        if type(version) is not int or version != cls.VERSION:
            raise DocumentError(
                f'{name}: "version" is {str(version)[:60]!r}, this deepplan reads {cls.VERSION}; '
                f"make the {kind} again or use the deepplan that wrote it"
            )
        content = {key: value for key, value in data.items() if key not in ("format", "version")}
        try:
            document: D = from_json(cls, content, kind)
        except InvalidInputError as error:
            raise DocumentError(f"{name}: {error}") from None
        return document


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replaces the file at `path`, or the one that a link there leads to, by `content` in one step; nothing partial is
    ever seen or left under its name. A device or a pipe is written to as it is.

    Raises InvalidInputError if it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if not os.fspath(path):
            raise ValueError("it is empty")
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target, data)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInputError(
            f"cannot write {os.fspath(path)!r}: {reason}; name a file in a folder that is there and can be written"
        ) from None


def _replace(target: Path, data: bytes) -> None:
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
        partial.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _to_data(value: Any) -> Any:
    if is_dataclass(value):
        values = {field.name: getattr(value, field.name) for field in fields(value)}
        added = added_fields(value.__class__)
        return {name: _to_data(item) for name, item in values.items() if name not in added or item != added[name]}
    if isinstance(value, tuple):
        return [_to_data(item) for item in value]
    return value


def _format(value: Any, indent: str = "") -> str:
    """JSON with one line for whatever holds plain values only."""
    inner = indent + "  "
    if (isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values())) or not indent:
        lines = (f"{inner}{json.dumps(key)}: {_format(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(inner + _format(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(f"a key is given twice in {[key for key, _ in pairs]}"[:200])
    return result
