"""Reading a trace line by line, whatever it turns out to be."""

from __future__ import annotations

import os
from collections.abc import Iterator

from deepplan.errors import InvalidInputError

# A day of one-minute columns has lines of a few KB. A file of another kind may have no end of line for gigabytes.
MAX_LINE_BYTES = 1 << 20


def trace_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """Each line's number, from 1, and its text without the end of line.

    Raises InvalidInputError for a file that cannot be read and for a line of more than `MAX_LINE_BYTES`.
    """
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise bad_line(path, number, f"is longer than {MAX_LINE_BYTES} bytes; name a trace in plain text")
                yield number, line.rstrip(b"\r\n")
    except OSError as error:
        raise InvalidInputError(f"cannot read {os.fspath(path)}: {error.strerror}; name a readable file") from None


def bad_line(path: str | os.PathLike[str], number: int, problem: str) -> InvalidInputError:
    """The error for one line; `problem` goes on after "line 7 " and ends with the remedy."""
    return InvalidInputError(f"{os.fspath(path)}: line {number} {problem}")


def shown(text: bytes) -> str:
    """A field or a line as a message can show it: short, and on one line."""
    return repr(text[:40].decode("ascii", "replace") + "..." * (len(text) > 40))
