"""Tensors as clients name and send them, and as torch has them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from deepplan.errors import InvalidInputError
from deepplan.export import nesting
from deepplan.export.graph import Graph
from deepplan.export.nesting import Nesting
from deepplan.serving.inference import TensorData, TensorSpec

_DTYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def to_tensor(given: TensorData) -> torch.Tensor:
    """A copy, on the CPU: what came in a request may lie at any address, and belongs to whoever read it."""
    dtype = _DTYPES[given.datatype]
    if math.prod(given.shape) == 0:
        return torch.empty(given.shape, dtype=dtype)
    return torch.frombuffer(bytearray(given.data), dtype=dtype).reshape(given.shape)


def to_data(spec: TensorSpec, tensor: torch.Tensor) -> TensorData:
    """The bytes of a tensor on the CPU, in place if they lie in C order."""
    flat = tensor.detach().contiguous().reshape(-1)
    return TensorData(spec.name, spec.datatype, tuple(tensor.shape), flat.view(torch.uint8).numpy().data)


def input_specs(graph: Graph) -> tuple[TensorSpec, ...]:
    """The tensors of one call. Raises InvalidInputError for a dtype that no client can send."""
    tensors = [spec for spec in graph.inputs if spec.kind == "tensor"]
    return tuple(TensorSpec(spec.name, _datatype(getattr(torch, spec.dtype)), tuple(spec.shape)) for spec in tensors)


def output_specs(graph: Graph, outputs: Sequence[object]) -> tuple[TensorSpec, ...]:
    """Names and types of a call's `outputs`: as they are named in what the model returns, else "output" with their
    places there. Raises InvalidInputError for anything but tensors."""
    specs = []
    for name, output in zip(_names(nesting.load(graph.out_spec), ""), outputs, strict=True):
        if not isinstance(output, torch.Tensor):
            raise InvalidInputError(f"{name} is {output!r:.40}, no tensor; serve a model that returns tensors alone")
        specs.append(TensorSpec(name, _datatype(output.dtype), tuple(output.shape)))
    return tuple(specs)


def _names(nested: Nesting, path: str) -> Iterator[str]:
    """Of the leaves: keys and positions on the way there, joined by dots."""
    if nested.kind == "leaf":
        yield path if path and not path[0].isdigit() else f"output.{path}".rstrip(".")
        return
    keys = nested.keys if isinstance(nested.keys, list) and len(nested.keys) == len(nested.children) else None
    for index, child in enumerate(nested.children):
        key = str(keys[index] if keys is not None else index)
        yield from _names(child, f"{path}.{key}" if path else key)


def _datatype(dtype: torch.dtype) -> str:
    if dtype not in _NAMES:
        raise InvalidInputError(f"tensors of {dtype} have no name in the inference protocol; serve another model")
    return _NAMES[dtype]
