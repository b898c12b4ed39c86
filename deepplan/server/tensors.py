"""Requests against what the model takes: the one path that HTTP's and gRPC's tensors go through.

Nothing here trusts a client: names, types, shapes and sizes are compared with the model's before a byte is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from deepplan.errors import InvalidInputError, UnknownNameError
from deepplan.planning.records import refusal
from deepplan.server.values import check_bools, encode, has_text_form
from deepplan.serving.inference import ITEM_SIZE_BYTES, ModelMetadata, TensorData, TensorSpec

# A number is written in at most 25 characters; the rest is for indentation. So a request of a small model stays small
# whatever the server's own limit is.
_JSON_BYTES_PER_ELEMENT = 64
_JSON_BYTES_AROUND = 65_536

# Extensions of the protocol that would change what a request means, so that to ignore them would be wrong.
_REFUSED_PARAMETERS = frozenset(
    {
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "classification",
        "shared_memory_region",
        "shared_memory_offset",
        "shared_memory_byte_size",
    }
)


class SentTensor(NamedTuple):
    """An input as a client sent it, unchecked; `data` is bytes, or a sequence of elements written one by one."""

    name: Any
    datatype: Any
    shape: Any
    data: bytes | memoryview | Sequence[Any]


class RequestedOutput(NamedTuple):
    """An output the client wants, and whether as bytes."""

    spec: TensorSpec
    binary: bool


class InferCall(NamedTuple):
    """A checked request: inputs as the engine takes them, the outputs wanted, and the client's own name for it."""

    id: str
    inputs: list[TensorData]
    outputs: list[RequestedOutput]


@dataclass(frozen=True)
class _Input:
    position: int
    spec: TensorSpec
    size_bytes: int


class Signature:
    """How a model is called, arranged for checking requests quickly."""

    def __init__(self, model: ModelMetadata) -> None:
        self.model = model
        self._inputs = {spec.name: _Input(i, spec, _size_bytes(spec)) for i, spec in enumerate(model.inputs)}
        self._outputs = {spec.name: spec for spec in model.outputs}
        elements = sum(prod(spec.shape) for spec in model.inputs)
        self.json_limit_bytes = _JSON_BYTES_AROUND + _JSON_BYTES_PER_ELEMENT * elements
        self.body_limit_bytes = self.json_limit_bytes + sum(known.size_bytes for known in self._inputs.values())

    def bind(self, sent: Sequence[SentTensor]) -> list[TensorData]:
        """The inputs in the model's order; binary data is not copied. Raises InvalidInputError."""
        bound: list[TensorData | None] = [None] * len(self._inputs)
        for tensor in sent:
            known = self._inputs.get(tensor.name) if isinstance(tensor.name, str) else None
            if known is None:
                raise refusal("an input's name", tensor.name, _one_of(self._inputs))
            if bound[known.position] is not None:
                raise InvalidInputError(f"input {tensor.name!r} is given twice")
            bound[known.position] = _bind(known, tensor)
        inputs = [tensor for tensor in bound if tensor is not None]
        if len(inputs) != len(bound):
            missing = [name for name, known in self._inputs.items() if bound[known.position] is None]
            raise InvalidInputError(f"model {self.model.name!r} also needs {', '.join(map(repr, missing))}")
        return inputs

    def request(self, names: Sequence[tuple[Any, bool]], *, binary: bool) -> list[RequestedOutput]:
        """The outputs of these names, each as bytes or not; without any, all of them, as bytes if `binary`.

        Raises InvalidInputError, also for one that is to be text and has no text form.
        """
        wanted: dict[str, RequestedOutput] = {}
        for name, as_bytes in names or [(spec.name, binary) for spec in self.model.outputs]:
            spec = self._outputs.get(name) if isinstance(name, str) else None
            if spec is None:
                raise refusal("an output's name", name, _one_of(self._outputs))
            if name in wanted:
                raise InvalidInputError(f"output {name!r} is asked for twice")
            if not as_bytes and not has_text_form(spec.datatype):
                raise InvalidInputError(
                    f"output {name!r} is {spec.datatype}, which has no text form; ask for it as binary data"
                )
            wanted[name] = RequestedOutput(spec, as_bytes)
        return list(wanted.values())


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises InvalidInputError for a parameter that asks for something that is not done here."""
    for name in _REFUSED_PARAMETERS.intersection(parameters):
        raise InvalidInputError(f"the parameter {name!r} is not supported; leave it out")


def check_version(version: str) -> None:
    """Raises UnknownNameError unless it is the one version every model has, or none."""
    if version not in ("", "1"):
        raise UnknownNameError(f"there is no version {version[:40]!r}; every model has version '1' only")


def _bind(known: _Input, tensor: SentTensor) -> TensorData:
    spec, data = known.spec, tensor.data
    if tensor.datatype != spec.datatype:
        raise refusal(f"the datatype of input {spec.name!r}", tensor.datatype, repr(spec.datatype))
    # A bool equals a whole number in Python, and so does 1.0.
    shape = tensor.shape
    if list(spec.shape) != shape or not all(type(length) is int for length in shape):
        raise refusal(f"the shape of input {spec.name!r}", shape, repr(list(spec.shape)))
    if not isinstance(data, (bytes, memoryview)):
        data = encode(spec, data)
    elif len(data) != known.size_bytes:
        expected = f"{known.size_bytes}, that of {spec.datatype} {list(spec.shape)}"
        raise refusal(f"the size in bytes of input {spec.name!r}", len(data), expected)
    elif spec.datatype == "BOOL":
        check_bools(spec, data)
    return TensorData(spec.name, spec.datatype, spec.shape, data)


def _size_bytes(spec: TensorSpec) -> int:
    return prod(spec.shape) * ITEM_SIZE_BYTES[spec.datatype]


def _one_of(names: Mapping[str, Any]) -> str:
    return "one of " + ", ".join(map(repr, names)) if names else "left out: the model has none"
