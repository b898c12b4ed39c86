"""What a model is called with: taken from the model itself, or given by the user in one of three forms."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch.utils import _pytree

from deepplan.errors import InvalidInputError

Call: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"

_FORMS = (torch.Tensor, tuple, list, Mapping)
_REMEDY = (
    "pass example_inputs: a tensor, a tuple of positional inputs or a mapping of keyword inputs, "
    "as in deepplan.plan(model, torch.randn(1, 3, 224, 224))"
)


def find_example_inputs(module: torch.nn.Module) -> Call:
    """The inputs that `module` carries: in `example_inputs`, Lightning's `example_input_array` or transformers'
    `dummy_inputs`. Raises InvalidInputError, saying how to pass some, if it carries none.
    """
    for attribute in ("example_inputs", "example_input_array"):
        inputs = getattr(module, attribute, None)
        if isinstance(inputs, _FORMS):
            return normalise(inputs)
    dummy_inputs = _dummy_inputs(module)
    if dummy_inputs is not None:
        return normalise(dummy_inputs)
    raise InvalidInputError(f"{type(module).__name__} does not say what it is called with; {_REMEDY}")


def normalise(inputs: Any) -> Call:
    """The positional and keyword inputs of a call. Raises InvalidInputError for anything but the three forms."""
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    if isinstance(inputs, Mapping):
        for key in inputs:
            if not isinstance(key, str):
                raise InvalidInputError(f"example_inputs has the key {key!r:.80}; the keys are the names of the inputs")
        return (), dict(inputs)
    raise InvalidInputError(f"example_inputs is of type {type(inputs).__name__}; {_REMEDY}")


def with_batch_size(call: Call, batch_size: int) -> Call:
    """The call with `batch_size` samples: its tensors are repeated or cut along dimension 0.

    The present batch size is the first size that most tensors share; tensors whose first size is neither that nor 1
    are left as they are. Raises InvalidInputError where no tensor has a dimension.
    """
    tensors = [leaf for leaf in _pytree.tree_leaves(call) if isinstance(leaf, torch.Tensor)]
    first_sizes = Counter(tensor.shape[0] for tensor in tensors if tensor.dim() > 0 and tensor.shape[0] > 0)
    if not first_sizes:
        raise InvalidInputError(f"these inputs have no batch to make {batch_size} of; pass inputs of that size")
    present = first_sizes.most_common(1)[0][0]

    def resize(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or leaf.dim() == 0 or leaf.shape[0] not in (1, present):
            return leaf
        times = -(-batch_size // leaf.shape[0])
        return leaf.repeat(times, *(1 for _ in leaf.shape[1:]))[:batch_size]

    args, kwargs = _pytree.tree_map(resize, call)
    return args, kwargs


def _dummy_inputs(module: torch.nn.Module) -> Mapping[str, Any] | None:
    """What transformers would call `module` with, None where that means nothing.

    Every model of theirs inherits token ids, those for images and sound too: such inputs lack the model's main one.
    """
    try:
        inputs = getattr(module, "dummy_inputs", None)  # may be computed from a configuration that lacks something
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None
    if not isinstance(inputs, Mapping) or getattr(module, "main_input_name", None) not in inputs:
        return None
    parameters = inspect.signature(module.forward).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return inputs if takes_any or inputs.keys() <= parameters.keys() else None
