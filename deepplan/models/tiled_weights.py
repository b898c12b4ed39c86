"""Random weights for models of billions of parameters, at the speed of a copy."""

from __future__ import annotations

import zlib
from functools import lru_cache

import torch

from deepplan.models.random_weights import SEED, mean_and_std

# A prime, so that the rows of no matrix repeat at one column: the values of a matrix that is larger than the tile come
# back shifted.
_TILE_VALUES = (1 << 25) - 39


def fill_weight(name: str, place: torch.Tensor) -> None:
    """Writes the parameter of that name into `place`, contiguous and on any device: a fixed function of the name, the
    shape and the dtype, from the distribution that `fill_weights` draws it from.

    All parameters are runs out of one tile of 33 million random values, each from a place of its own, because drawing
    8 billion takes minutes. The tile is kept for the next parameter.
    """
    mean, std = mean_and_std(name, place)
    tile, values = _tile(std, place.dtype), place.view(-1)
    at = zlib.crc32(name.encode()) % tile.numel()
    done = 0
    while done < values.numel():
        count = min(tile.numel() - at, values.numel() - done)
        values[done : done + count].copy_(tile[at : at + count])
        done, at = done + count, 0
    if mean:
        values.add_(mean)


@lru_cache(maxsize=1)
def _tile(std: float, dtype: torch.dtype) -> torch.Tensor:
    with torch.device("cpu"):
        generator = torch.Generator().manual_seed(SEED)
        return torch.empty(_TILE_VALUES, dtype=torch.float32).normal_(0.0, std, generator=generator).to(dtype)
