"""Modules whose parameters lie on the meta device, with shapes but without values, and bring what writes these.

Such a module has an attribute `fill_weight(name, place)`: it writes the weight of that name into the tensor `place`,
which has its shape and perhaps another dtype or device. A large model thus gets values only where they are wanted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree

from deepplan.errors import InvalidInputError

FillWeight: TypeAlias = "Callable[[str, torch.Tensor], None]"


def weights_on_meta(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers on the meta device by name; one with several names is there under each."""
    return {name: tensor for name, tensor in _named_weights(module) if tensor.is_meta}


def fill_weight_of(module: torch.nn.Module) -> FillWeight | None:
    """What writes the values of the module's weights, by any of their names; None if it does not bring that."""
    fill: FillWeight | None = getattr(module, "fill_weight", None)
    if not callable(fill):
        return None
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(tensor), name) for name, tensor in weights_on_meta(module).items()}
    return lambda name, place: fill(names[name], place)


def as_on_cpu(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Copies for tracing, in which what lies on the meta device claims to lie on the CPU, still without memory; the
    other weights are the module's own.

    On the meta device itself the constants that a model computes while it is traced (positions, masks) would have no
    values either, and its device would be burnt into the graph.
    """
    mode = FakeTensorMode()

    def on_cpu(_: str, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            return tensor
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")

    def fake(leaf: Any) -> Any:
        return mode.from_tensor(on_cpu("", leaf)) if isinstance(leaf, torch.Tensor) else leaf

    args, kwargs = _pytree.tree_map(fake, (args, kwargs))
    return _with_weights(module, on_cpu), args, kwargs


def with_values(module: torch.nn.Module, device: str) -> torch.nn.Module:
    """See `deepplan.models.materialise`."""
    fill = fill_weight_of(module)
    if fill is None and weights_on_meta(module):
        raise InvalidInputError(f"{type(module).__name__} lies on the meta device and has no fill_weight(name, place)")

    def on_device(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if fill is None or not tensor.is_meta:
            return tensor.detach().to(device, copy=True)
        place = torch.empty_like(tensor, device=device)
        fill(name, place)
        return place

    with torch.no_grad():
        return _with_weights(module, on_device)


def _with_weights(module: torch.nn.Module, replacement: Callable[[str, torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    """A copy of `module` with `replacement(name, tensor)` for every weight, ties kept."""
    memo: dict[int, Any] = {}  # of what deep copies take instead
    for name, tensor in _named_weights(module):
        if id(tensor) not in memo:
            new = replacement(name, tensor)
            is_parameter = isinstance(tensor, torch.nn.Parameter) and new is not tensor
            memo[id(tensor)] = torch.nn.Parameter(new, tensor.requires_grad) if is_parameter else new
    return copy.deepcopy(module, memo)


def _named_weights(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
