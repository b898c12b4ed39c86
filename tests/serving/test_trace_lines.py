"""Lines of files that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepplan.errors import InvalidInputError
from deepplan.serving.trace_lines import MAX_LINE_BYTES, shown, trace_lines


def test_lines_come_with_their_numbers_and_without_their_ends(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(b"a\r\n\nb,c\nd")
    assert list(trace_lines(path)) == [(1, b"a"), (2, b""), (3, b"b,c"), (4, b"d")]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "trace").touch()
    assert list(trace_lines(str(tmp_path / "trace"))) == []


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(b"a\n" + b"x" * (MAX_LINE_BYTES - 1) + b"\n" + b"y" * MAX_LINE_BYTES + b"\n")
    lines = trace_lines(path)
    assert [len(next(lines)[1]) for _ in range(2)] == [1, MAX_LINE_BYTES - 1]
    with pytest.raises(InvalidInputError, match=f"trace: line 3 is longer than {MAX_LINE_BYTES} bytes"):
        next(lines)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot read .*missing: No such file"):
        list(trace_lines(tmp_path / "missing"))
    with pytest.raises(InvalidInputError, match=r"cannot read .*: Is a directory"):
        list(trace_lines(tmp_path))


def test_bytes_are_shown_short_and_on_one_line() -> None:
    assert shown(b"1\n\xff") == repr("1\n\N{REPLACEMENT CHARACTER}")
    assert shown(b"x" * 41) == repr("x" * 40 + "...")
