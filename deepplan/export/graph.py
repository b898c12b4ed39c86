"""The graph that deepplan executes: a flat list of operator calls over value slots, and the weights they read.

A graph is plain data, made once by `capture` and handed as it is to the executor. Everything an executor relies on is
checked when a graph is made (`verify`), so neither a hand-edited document nor a defect of the exporter reaches it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from deepplan.export.arguments import Argument
from deepplan.export.verify import verify_graph


@dataclass(frozen=True)
class Storage:
    """The unit that is loaded: bytes that overlapping weights share. Bytes that no weight covers are not counted."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Weight:
    """A strided view of a storage. Strides count elements, `offset_bytes` starts at the storage's first byte."""

    name: str
    storage: int
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset_bytes: int


@dataclass(frozen=True)
class Step:
    """One call. `op` is an operator of the dispatcher ("aten::linear", with its overload name) or one of ours:

    - `deepplan::list_get(list, index)`: one tensor of a slot that holds a list (chunk, split, unbind);
    - `deepplan::NAME(a, b)` with NAME one of Python's `operator` functions, on numbers;
    - `deepplan::autocast_enter(device, dtype, enabled, cache_enabled)` and `deepplan::autocast_exit()`, nested.

    `outputs` has one slot for each value that the operator returns (-1: never used); `frees` are the slots whose
    last use this step is; `layer` is the index of the layer that the step belongs to.
    """

    op: str
    overload: str
    args: tuple[Argument, ...]
    kwargs: dict[str, Argument]
    outputs: tuple[int, ...]
    frees: tuple[int, ...]
    layer: int


@dataclass(frozen=True)
class Layer:
    """A maximal run of steps `[steps[0], steps[1])` of one module call, and the storages that are loaded with it.

    A storage belongs to the layer of its first use other than an embedding lookup, or of its first lookup if it has
    no other use; earlier lookups in other layers read it in place. `direct_host_access` tells whether the layer may
    read its storages in place: not if another layer reads one as a whole, too. (No layer writes to one: a model that
    does is refused at export.)
    """

    name: str
    type: str
    steps: tuple[int, int]
    storages: tuple[int, ...]
    direct_host_access: bool


@dataclass(frozen=True)
class InputSpec:
    """One leaf of the flattened inputs: a tensor (`kind` "tensor", with a slot) or a value fixed at export
    (`kind` "constant": a call must pass the same `value`; dtype "" and no slot, -1)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    slot: int
    kind: str = "tensor"
    value: Argument = None


@dataclass(frozen=True)
class Graph:
    """A model for one input signature. `outputs` are the flattened outputs: slots or constants.

    `in_spec` (of the pair (args, kwargs)) and `out_spec` are the nestings, in the JSON of
    `torch.utils._pytree.treespec_dumps`. `slots` is the number of value slots; each is written once.
    """

    storages: tuple[Storage, ...]
    weights: tuple[Weight, ...]
    layers: tuple[Layer, ...]
    steps: tuple[Step, ...]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[Argument, ...]
    slots: int
    in_spec: str
    out_spec: str

    def __post_init__(self) -> None:
        verify_graph(self)

    @cached_property
    def model_digest(self) -> str:
        """What a plan is bound to: a hash of everything here, and so of all but the weights' values."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all storages."""
        return sum(storage.size_bytes for storage in self.storages)

    def to_json(self) -> str:
        """The graph as one line of JSON, the same in every process."""
        from deepplan.export.document import to_data

        return json.dumps(to_data(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Graph:
        """Reads what `to_json` wrote. Raises DocumentError for anything that is not a sound graph."""
        from deepplan.export.document import from_text

        return from_text(text)
