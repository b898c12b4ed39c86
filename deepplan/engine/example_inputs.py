"""What a model is called with: taken from the model itself, or given by the user in one of three forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch.utils import _pytree

from deepplan.errors import InvalidInputError

Call: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"

_REMEDY = (
    "pass example_inputs: a tensor, a tuple of positional inputs or a mapping of keywords, "
    "for example deepplan.plan(model, torch.randn(1, 3, 224, 224))"
)
# Attributes by which models bring inputs: the zoo's and the user's own, Lightning's, transformers'.
_ATTRIBUTES = ("example_inputs", "example_input_array", "dummy_inputs")


def find_example_inputs(module: torch.nn.Module) -> Call:
    """The inputs that `module` carries. Raises InvalidInputError, saying how to pass some, if it carries none."""
    for attribute in _ATTRIBUTES:
        # transformers' property builds its inputs and may fail on a model that it does not fit
        try:
            inputs = getattr(module, attribute, None)
        except Exception:
            continue
        if inputs is not None:
            return normalise(inputs)
    raise InvalidInputError(f"{type(module).__name__} does not say what it is called with; {_REMEDY}")


def normalise(inputs: Any) -> Call:
    """The positional and keyword inputs of a call. Raises InvalidInputError for another type than the three."""
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    if isinstance(inputs, Mapping):
        unnamed = [key for key in inputs if not isinstance(key, str)]
        if unnamed:
            raise InvalidInputError(f"example_inputs has the key {unnamed[0]!r:.80}; keywords are strings")
        return (), dict(inputs)
    raise InvalidInputError(f"example_inputs is a {type(inputs).__name__}; {_REMEDY}")


def with_batch_size(call: Call, batch_size: int) -> Call:
    """The same call for `batch_size` samples: tensors of the call's batch are repeated or cut along dimension 0.

    The batch is the first size that most tensors share; tensors whose first size is 1 or the batch are of the batch.
    """
    leaves = _pytree.tree_leaves(call)
    sizes = Counter(leaf.shape[0] for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim() > 0)
    if not sizes:
        raise InvalidInputError(f"the inputs have no batch to make {batch_size} of; give inputs of that size")
    batch = sizes.most_common(1)[0][0]

    def resize(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or leaf.dim() == 0 or leaf.shape[0] not in (1, batch):
            return leaf
        repeats = -(-batch_size // leaf.shape[0])
        return leaf.repeat(repeats, *(1 for _ in leaf.shape[1:]))[:batch_size]

    args, kwargs = _pytree.tree_map(resize, call)
    return args, kwargs
