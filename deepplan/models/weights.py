"""Random weights that are a fixed function of the model's shape: seed 0, one generator, parameters in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_SEED = 0
_TRANSFORMER_STD = 0.02


class _SkipRandomFills(TorchFunctionMode):
    """Turns every in-place random fill into nothing, so that a constructor allocates and does not initialize twice.

    Unlike building on the meta device this leaves buffers (position ids, masks) as their constructors compute them.
    """

    _NAMES = frozenset(
        {"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_"}
        | {"xavier_uniform_", "orthogonal_", "sparse_"}
    )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self._NAMES:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def skipping_random_fills() -> Iterator[None]:
    """Modules built in here have parameters of undefined content; `fill` gives them theirs."""
    with torch.random.fork_rng(devices=[]), _SkipRandomFills():
        yield


def fill(model: nn.Module) -> None:
    """Overwrites every parameter: biases zero, the scales of norms one, matrices and filters normal.

    The deviation is 0.02 for transformers. For convnets it is fan_in ** -0.5: their batch norms normalize nothing in
    eval mode with fresh statistics, and this keeps the activations of a hundred layers between vanishing and
    overflowing, in half precision too. A shared parameter is filled once.
    """
    generator = torch.Generator().manual_seed(_SEED)
    convolutional = any(isinstance(module, nn.Conv2d) for module in model.modules())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                std = parameter[0].numel() ** -0.5 if convolutional else _TRANSFORMER_STD
                parameter.normal_(0.0, std, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
