"""Example inputs of the zoo's models, drawn with a seed of their own."""

from __future__ import annotations

import torch

from deepplan.errors import InvalidInputError
from deepplan.models.zoo import Entry

_IMAGE_SHAPE = (3, 224, 224)
_FIRST_ORDINARY_TOKEN = 10  # below lie padding and the like, which some models treat apart
_TOKENS = 30000  # every vocabulary of the zoo has as many


def draw_inputs(entry: Entry, batch_size: int) -> torch.Tensor | dict[str, torch.Tensor]:
    """An fp32 image batch [batch, 3, 224, 224], or int64 token ids [batch, length] by keyword.

    Raises InvalidInputError for a batch size below 1.
    """
    if batch_size < 1:
        raise InvalidInputError(f"a batch of {batch_size} is not possible; it is at least 1")
    generator = torch.Generator().manual_seed(0)
    with torch.device("cpu"):
        if not entry.tokens:
            return torch.randn(batch_size, *_IMAGE_SHAPE, generator=generator, dtype=torch.float32)
        return {
            name: torch.randint(_FIRST_ORDINARY_TOKEN, _TOKENS, (batch_size, length), generator=generator)
            for name, length in entry.tokens.items()
        }
