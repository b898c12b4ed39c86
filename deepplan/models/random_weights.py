"""Random weights from a generator of our own, in place of whatever a module's constructor would draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

SEED = 0
_STD = 0.02
_DRAWS = frozenset({"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"})


class _WithoutInitialisation(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def without_initialisation() -> TorchFunctionMode:
    """A context in which modules are made without drawing weights: their memory is not even touched.

    Drawing them twice would take longer than everything else, and move the global random state.
    """
    return _WithoutInitialisation()


def fill_weights(module: torch.nn.Module, seed: int = SEED) -> None:
    """Draws all parameters anew: matrices and tables normal(0, 0.02); biases around zero and the weights of norms
    around one with the same deviation, so that no two layers are alike and an exchanged pair shows in the outputs.

    Convolutions are normal(0, 1 / sqrt(fan-in)): with 0.02 the signal would die in the first stages of a residual
    network, and with more it would leave fp16's range where fresh batch norms do not hold it.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            mean, std = mean_and_std(name, parameter)
            parameter.normal_(0.0, std, generator=generator)
            if mean:
                parameter.add_(mean)


def mean_and_std(name: str, parameter: torch.Tensor) -> tuple[float, float]:
    """What the values of the parameter of that name and shape are drawn from."""
    std = float(parameter[0].numel()) ** -0.5 if parameter.dim() > 2 else _STD
    return float(parameter.dim() == 1 and not name.endswith("bias")), std
