"""The precisions a model can be run in: how its weights and inputs are cast, and whether products may use TF32."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree

from deepplan.errors import UnknownNameError

NAMES = ("fp32", "tf32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_TF32_MODES = {"fp32": "ieee", "tf32": "tf32"}


def check_name(name: str | None) -> None:
    """Raises UnknownNameError unless `name` is a precision, or None for a model as it is."""
    if name is not None and name not in NAMES:
        raise UnknownNameError(f"no precision {name!r}; there are {', '.join(NAMES)}")


def prepare(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None
) -> tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]:
    """The module and its inputs with every floating tensor in the precision's dtype; as they are for None.

    The user's module is never changed: it is returned itself where no tensor has to be cast, else a cast copy is.
    """
    check_name(name)
    if name is None:
        return module, args, kwargs
    dtype = _DTYPES[name]
    tensors = (*module.parameters(), *module.buffers())
    if any(tensor.is_floating_point() and tensor.dtype != dtype for tensor in tensors):
        module = copy.deepcopy(module).to(dtype)
    args, kwargs = _pytree.tree_map(lambda leaf: _cast(leaf, dtype), (args, kwargs))
    return module, args, kwargs


def _cast(leaf: Any, dtype: torch.dtype) -> Any:
    return leaf.to(dtype) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf


@contextmanager
def precision(name: str | None) -> Iterator[None]:
    """Lets matrix products and convolutions of fp32 tensors use TF32 for "tf32", forbids it for "fp32".

    Other precisions change nothing. What was set before is there again afterwards.
    """
    mode = _TF32_MODES.get(name or "")
    if mode is None:
        yield
        return
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = (matmul.fp32_precision, conv.fp32_precision)
    if before[0] != mode:
        matmul.fp32_precision = mode
    if before[1] != mode:
        conv.fp32_precision = mode
    try:
        yield
    finally:
        if before[0] != mode:
            matmul.fp32_precision = before[0]
        if before[1] != mode:
            conv.fp32_precision = before[1]
