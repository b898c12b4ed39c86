"""YAML of which nothing is let through that a person would not write on purpose.

Plain data only, as `yaml.safe_load` gives it, of one document; keys are words, each given once; there are no anchors
and aliases, by which a small file becomes a large structure.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from deepplan.errors import DocumentError

_MAX_BYTES = 1 << 20


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """What the file at `path` says. Raises DocumentError, naming the file and the line."""
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise DocumentError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > _MAX_BYTES:
        raise DocumentError(f"{name} is larger than {_MAX_BYTES} bytes, which no file of settings is")
    try:
        return yaml.load(content, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        raise DocumentError(f"{name}{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or number that is none
        raise DocumentError(f"{name} is no YAML: {error}") from None


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml says nothing of its types
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refusal("anchors and aliases are not read here; write the values out", event)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        known: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _refusal("a key is a word; put quotes around it", key)
            if key.value in known:
                raise _refusal(f"the key {key.value[:80]!r} is given twice", key)
            known.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _refusal(problem: str, place: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)
