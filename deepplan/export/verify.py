"""Checks that a graph is sound: every index in range, every value written before it is read and not after it died.

The executor indexes without looking, so this is what stands between it and a hand-edited document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deepplan.errors import DocumentError
from deepplan.export.arguments import Argument, Slot, WeightRef
from deepplan.export.dtypes import ITEM_SIZE_BYTES

if TYPE_CHECKING:
    from deepplan.export.graph import Graph, Step, Weight

MAX_SLOTS = 10_000_000
_OPERATOR = re.compile(r"[A-Za-z_]\w*::[A-Za-z_][\w.]*", re.ASCII)


def references(*values: Argument) -> Iterator[Slot | WeightRef]:
    """All slots and weights in `values`, nested lists included, in order."""
    for value in values:
        if isinstance(value, tuple):
            yield from references(*value)
        elif isinstance(value, (Slot, WeightRef)):
            yield value


def verify_graph(graph: Graph) -> None:
    """Raises DocumentError with the place and the offending value if `graph` is not sound."""
    _unique((storage.name for storage in graph.storages), "storage")
    _unique((weight.name for weight in graph.weights), "weight")
    for storage in graph.storages:
        _require(storage.size_bytes >= 0, f"storage {storage.name!r} has {storage.size_bytes} bytes")
    for weight in graph.weights:
        _verify_weight(graph, weight)
    _verify_layers(graph)
    _verify_values(graph)


def _verify_weight(graph: Graph, weight: Weight) -> None:
    where = f"weight {weight.name!r}"
    _require(0 <= weight.storage < len(graph.storages), f"{where}: there is no storage {weight.storage}")
    _require(weight.dtype in ITEM_SIZE_BYTES, f"{where}: unknown dtype {weight.dtype!r}")
    _require(len(weight.shape) == len(weight.stride), f"{where}: shape {weight.shape} but stride {weight.stride}")
    _require(min((0, *weight.shape, *weight.stride)) >= 0, f"{where}: negative shape or stride")
    item_bytes = ITEM_SIZE_BYTES[weight.dtype]
    aligned = weight.offset_bytes >= 0 and weight.offset_bytes % item_bytes == 0
    _require(aligned, f"{where}: offset_bytes {weight.offset_bytes} is not a multiple of {item_bytes}")
    end_bytes = weight.offset_bytes + extent_bytes(weight)
    size_bytes = graph.storages[weight.storage].size_bytes
    _require(end_bytes <= size_bytes, f"{where} ends at byte {end_bytes} of a storage of {size_bytes}")


def extent_bytes(weight: Weight) -> int:
    """Bytes from the weight's first to its last element, both included."""
    if 0 in weight.shape:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(weight.shape, weight.stride))
    return (last + 1) * ITEM_SIZE_BYTES[weight.dtype]


def _verify_layers(graph: Graph) -> None:
    _unique((layer.name for layer in graph.layers), "layer")
    end = 0
    owned: list[int] = []
    for index, layer in enumerate(graph.layers):
        where = f"layer {layer.name!r}"
        begin, stop = layer.steps
        _require(begin == end < stop <= len(graph.steps), f"{where}: steps {layer.steps} do not follow step {end}")
        for step in range(begin, stop):
            found = graph.steps[step].layer
            _require(found == index, f"step {step} names layer {found} but lies in layer {index}")
        end = stop
        owned += layer.storages
    _require(end == len(graph.steps), f"the layers end at step {end} of {len(graph.steps)}")
    _require(sorted(owned) == list(range(len(graph.storages))), "each storage must belong to exactly one layer")


def _verify_values(graph: Graph) -> None:
    _require(0 <= graph.slots <= MAX_SLOTS, f"a graph cannot have {graph.slots} slots")
    live: set[int] = set()
    written: set[int] = set()

    def write(slot: int, where: str) -> None:
        _require(0 <= slot < graph.slots, f"{where}: there is no slot {slot}")
        _require(slot not in written, f"{where}: slot {slot} is written twice")
        written.add(slot)
        live.add(slot)

    for given in graph.inputs:
        where = f"input {given.name!r}"
        if given.kind == "tensor":
            write(given.slot, where)
            _require(given.dtype in ITEM_SIZE_BYTES, f"{where}: unknown dtype {given.dtype!r}")
            _require(min((0, *given.shape)) >= 0, f"{where}: shape {given.shape}")
        else:
            _require(given.kind == "constant", f"{where}: unknown kind {given.kind!r}")
            _require(not any(references(given.value)), f"{where}: a constant cannot refer to a value")
    kept = {reference.index for reference in references(*graph.outputs) if isinstance(reference, Slot)}
    for index, step in enumerate(graph.steps):
        where = f"step {index} ({step.op})"
        _verify_operator(step, where)
        for reference in references(*step.args, *step.kwargs.values()):
            _verify_reference(graph, reference, live, where)
        for slot in step.outputs:
            if slot != -1:
                write(slot, where)
        for slot in step.frees:
            _require(slot in live and slot not in kept, f"{where}: frees slot {slot}, which is dead or an output")
            live.discard(slot)
    for value in graph.outputs:
        for reference in references(value):
            _require(isinstance(reference, Slot), "an output cannot be a weight: its memory is the session's own")
            _verify_reference(graph, reference, live, "outputs")


def _verify_operator(step: Step, where: str) -> None:
    _require(_OPERATOR.fullmatch(step.op) is not None, f"{where}: not the name of an operator")
    _require(step.op not in FORBIDDEN_OPERATORS, f"{where}: a graph may not call {step.op}")
    ours = step.op.startswith("deepplan::")
    _require(not ours or step.op in OWN_OPERATORS, f"{where}: deepplan has no such operator")


def _verify_reference(graph: Graph, reference: Slot | WeightRef, live: set[int], where: str) -> None:
    if isinstance(reference, Slot):
        _require(reference.index in live, f"{where}: slot {reference.index} holds nothing here")
    else:
        _require(0 <= reference.index < len(graph.weights), f"{where}: there is no weight {reference.index}")


def _unique(names: Iterator[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        _require(name not in seen, f"two of the graph's {what} entries are named {name!r}")
        seen.add(name)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise DocumentError(f"not a sound graph: {message}")


# Operators that reach outside the graph's values: one opens the file that its argument names, the others make views
# or tensors past the end of a memory without looking.
FORBIDDEN_OPERATORS = frozenset(
    {
        "aten::from_file",
        "aten::_reshape_alias",
        "aten::_reshape_alias_copy",
        "aten::set_",
        "aten::set",
        "aten::set_data",
        "aten::resize_",
        "aten::resize",
        "aten::_resize_output_",
        "aten::resize_as_",
        "aten::_nested_view_from_buffer",
        "aten::_cudnn_init_dropout_state",
    }
)
SCALAR_OPERATORS = (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "neg",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and_",
    "or_",
    "not_",
)
OWN_OPERATORS = frozenset(
    f"deepplan::{name}" for name in (*SCALAR_OPERATORS, "list_get", "autocast_enter", "autocast_exit")
)
