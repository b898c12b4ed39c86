from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepplan.cli.strict_yaml import read_yaml
from deepplan.errors import DocumentError


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


def test_plain_data_is_read(written: Path) -> None:
    written.write_text("# about\na: [1, 2.5, no, text]\nb:\n  - {c: null}\n")
    assert read_yaml(written) == {"a": [1, 2.5, False, "text"], "b": [{"c": None}]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"),
        ("a:\n  b: {c: 1, c: 2}\n", "line 2: the key 'c' is given twice"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("a: &x [1]\nb: *x\n", "line 1: anchors and aliases"),
        ("a: *x\n", "line 1: anchors and aliases"),
        ("<<: {a: 1}\n", "line 1: a key is a word"),
        ("no: 1\n", "line 1: a key is a word"),
        ("1: 1\n", "line 1: a key is a word"),
        ("[a]: 1\n", "line 1: a key is a word"),
        ("a: !!python/object/apply:os.system [echo]\n", "line 1: could not determine a constructor"),
        ("a: [1\n", "line 2: expected"),
        ("a: \tb: c", "line 1: "),
        ("a: 2001-99-99\n", "is no YAML: month must be in"),
        ("a: " + "9" * 5000, "is no YAML: Exceeds the limit"),
        ("[" * 100_000, "is no YAML: "),
        ("a: \x00", "is no YAML: "),
        ("#" * (1 << 20) + "\n", "is larger than"),
    ],
)
def test_what_is_refused_is_named(written: Path, text: str, said: str) -> None:
    written.write_text(text)
    with pytest.raises(DocumentError) as refused:
        read_yaml(written)
    assert str(written) in str(refused.value) and said in str(refused.value)
    assert len(str(refused.value)) < 400 + len(str(written))


def test_a_small_file_cannot_become_a_large_structure(written: Path) -> None:
    bomb = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    written.write_text("\n".join(bomb))
    begin = time.perf_counter()
    with pytest.raises(DocumentError, match="anchors"):
        read_yaml(written)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("path", ["nosuch.yaml", ".", "x\0y", "y" * 5000])
def test_what_cannot_be_opened_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(DocumentError, match="cannot read"):
        read_yaml(os.path.join(tmp_path, path))


@given(st.one_of(st.binary(max_size=200), st.text("ab:-[]{}&*!<>|'\"#?,\n 0", max_size=60).map(str.encode)))
def test_nothing_else_is_ever_raised(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        read_yaml(path)
    except DocumentError as error:
        assert str(path) in str(error)
