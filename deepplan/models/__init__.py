"""The zoo: models by name, with random weights that are a fixed function of the name and inputs to call them with.

Nothing is fetched. Importing this module brings neither torch nor transformers; each is imported where a model that
needs it is built.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deepplan.models.zoo import default_dtype, find, names

if TYPE_CHECKING:
    import torch

__all__ = ["build", "default_dtype", "example_inputs", "materialise", "names"]


def build(name: str, weights: str | os.PathLike[str] | None = None) -> torch.nn.Module:
    """The zoo's model of that name: fp32 on the CPU, in eval mode, without gradients.

    Its attribute `example_inputs` is what a call with batch size 1 takes, its `zoo_name` is `name`. Two builds of one
    name are equal to the bit; PyTorch's global random state plays no part and stays as it is. `weights` is a
    safetensors file or a saved state dict to be used instead of random weights.
    A large model (`llama3_8b`) is bf16, and its parameters lie on the meta device: `fill_weight(name, place)`, another
    attribute, writes one of them where it is wanted, straight into pinned memory when the model is loaded.
    Raises UnknownNameError; DocumentError or MismatchError for a file that is not weights, or not this model's.
    """
    from deepplan.engine.weights_file import load_weights, weights_from
    from deepplan.models.construct import construct
    from deepplan.models.inputs import draw_inputs
    from deepplan.models.random_weights import fill_weights
    from deepplan.models.tiled_weights import fill_weight

    entry = find(name)
    module = construct(entry)
    if entry.on_meta:
        fill = fill_weight if weights is None else weights_from(module, weights)
        module.fill_weight = fill  # type: ignore[assignment]
    elif weights is not None:
        load_weights(module, weights)
    else:
        fill_weights(module)
    module.zoo_name = name  # type: ignore[assignment]
    module.example_inputs = draw_inputs(entry, batch_size=1)  # type: ignore[assignment]
    return module


def example_inputs(name: str, batch_size: int = 1) -> torch.Tensor | dict[str, torch.Tensor]:
    """What a call of the named model takes: an image batch, or token ids by keyword; the same at each call.

    Raises UnknownNameError, and InvalidInputError for a batch size below 1.
    """
    from deepplan.models.inputs import draw_inputs

    return draw_inputs(find(name), batch_size)


def materialise(module: torch.nn.Module, device: str = "cpu") -> torch.nn.Module:
    """A copy of `module`, on `device`, in which the parameters on the meta device have got memory and their values.

    Raises InvalidInputError for one that does not bring the values, in a `fill_weight(name, place)`.
    """
    from deepplan.export.meta import with_values

    return with_values(module, device)
