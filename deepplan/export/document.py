"""The graph's JSON document: written canonically, read with every field's type checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from deepplan.errors import DocumentError
from deepplan.export.arguments import decode, encode, int64
from deepplan.export.graph import Graph, InputSpec, Layer, Step, Storage, Weight

FORMAT = "deepplan.graph"
VERSION = 1
T = TypeVar("T")


def to_data(graph: Graph) -> dict[str, Any]:
    """`graph` as JSON data, fields in a fixed order."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "storages": [[s.name, s.size_bytes] for s in graph.storages],
        "weights": [[w.name, w.storage, w.dtype, w.shape, w.stride, w.offset_bytes] for w in graph.weights],
        "layers": [[x.name, x.type, x.steps, x.storages, x.direct_host_access] for x in graph.layers],
        "steps": [
            {
                "op": step.op,
                "overload": step.overload,
                "args": encode(step.args),
                "kwargs": {name: encode(value) for name, value in step.kwargs.items()},
                "outputs": step.outputs,
                "frees": step.frees,
                "layer": step.layer,
            }
            for step in graph.steps
        ],
        "inputs": [[i.name, i.dtype, i.shape, i.slot, i.kind, encode(i.value)] for i in graph.inputs],
        "outputs": encode(graph.outputs),
        "slots": graph.slots,
        "in_spec": graph.in_spec,
        "out_spec": graph.out_spec,
    }


def from_text(text: str | bytes) -> Graph:
    """The graph in `text`. Raises DocumentError if there is none, or not a sound one."""
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not a graph document: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DocumentError(f'not a graph document: there is no "format": "{FORMAT}"')
    if data.get("version") != VERSION:
        raise DocumentError(f"graph document of version {str(data.get('version'))[:20]}; this deepplan reads {VERSION}")
    return Graph(
        storages=_rows(data, "storages", Storage, _text, int64),
        weights=_rows(data, "weights", Weight, _text, int64, _text, _ints, _ints, int64),
        layers=_rows(data, "layers", Layer, _text, _text, _pair, _ints, _bool),
        steps=tuple(_step(item) for item in _list(data, "steps")),
        inputs=_rows(data, "inputs", InputSpec, _text, _text, _ints, int64, _text, decode),
        outputs=tuple(decode(item) for item in _list(data, "outputs")),
        slots=int64(data.get("slots")),
        in_spec=_text(data.get("in_spec")),
        out_spec=_text(data.get("out_spec")),
    )


def _step(data: Any) -> Step:
    if not isinstance(data, dict) or not isinstance(data.get("kwargs"), dict):
        raise DocumentError("a step must be an object with args, kwargs, outputs, frees and layer")
    return Step(
        op=_text(data.get("op")),
        overload=_text(data.get("overload")),
        args=tuple(decode(item) for item in _list(data, "args")),
        kwargs={name: decode(value) for name, value in data["kwargs"].items()},
        outputs=_ints(data.get("outputs")),
        frees=_ints(data.get("frees")),
        layer=int64(data.get("layer")),
    )


def _rows(data: dict[str, Any], field: str, kind: Callable[..., T], *readers: Callable[[Any], Any]) -> tuple[T, ...]:
    rows = []
    for row in _list(data, field):
        if not isinstance(row, list) or len(row) != len(readers):
            raise DocumentError(f"each of {field!r} must be a list of {len(readers)} values")
        rows.append(kind(*(read(value) for read, value in zip(readers, row))))
    return tuple(rows)


def _list(data: dict[str, Any], field: str) -> list[Any]:
    value = data.get(field)
    if not isinstance(value, list):
        raise DocumentError(f"{field!r} must be a list")
    return value


def _ints(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise DocumentError(f"not a list of integers: {str(value)[:40]!r}")
    return tuple(int64(item) for item in value)


def _pair(value: Any) -> tuple[int, ...]:
    pair = _ints(value)
    if len(pair) != 2:
        raise DocumentError(f"not a pair of steps: {str(value)[:40]!r}")
    return pair


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DocumentError(f"not a string: {str(value)[:40]!r}")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise DocumentError(f"not true or false: {str(value)[:40]!r}")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
