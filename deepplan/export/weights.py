"""Which bytes a model's weights occupy: overlapping weights share a storage, and only bytes in use are counted."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import torch

from deepplan.errors import ExportError
from deepplan.export.dtypes import ITEM_SIZE_BYTES
from deepplan.export.graph import Storage, Weight


@dataclass(frozen=True)
class PackedWeights:
    """`storages[i]` describes `bytes[i]`, a one-dimensional uint8 tensor over the module's own memory, on the CPU or,
    without values, on the meta device."""

    storages: tuple[Storage, ...]
    weights: tuple[Weight, ...]
    bytes: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class _Extent:
    index: int
    begin_bytes: int
    end_bytes: int


def pack_weights(tensors: dict[str, torch.Tensor], may_lack_values: Container[str] = ()) -> PackedWeights:
    """Storages for `tensors` (name to tensor, in order of first use), in order of first use. Nothing is copied unless
    a tensor lies on a GPU or is lazily conjugated or negated.

    Weights are tied by the bytes they cover, not by name: two names of one parameter, or two overlapping views, share
    a storage, while the tensors of one memory-mapped checkpoint stay apart. Raises ExportError for a weight that is
    not an ordinary dense tensor with values; those that `may_lack_values` may lie on the meta device.
    """
    names = list(tensors)
    dense = [_dense(name, tensor, name in may_lack_values) for name, tensor in tensors.items()]
    by_memory: dict[int, list[_Extent]] = {}
    for index, tensor in enumerate(dense):
        begin_bytes = int(tensor.storage_offset()) * tensor.element_size()
        extent = _Extent(index, begin_bytes, _end_bytes(tensor))
        by_memory.setdefault(tensor.untyped_storage()._cdata, []).append(extent)
    parts = sorted((part for extents in by_memory.values() for part in _overlapping(extents)), key=_first_index)

    storages: list[Storage] = []
    weights: dict[int, Weight] = {}
    views: list[torch.Tensor] = []
    for part in parts:
        item_bytes = max(dense[extent.index].element_size() for extent in part)
        begin_bytes = min(extent.begin_bytes for extent in part) // item_bytes * item_bytes
        size_bytes = max(extent.end_bytes for extent in part) - begin_bytes
        memory = dense[part[0].index].untyped_storage()
        views.append(
            torch.empty(0, dtype=torch.uint8, device=memory.device).set_(memory, begin_bytes, (size_bytes,), (1,))
        )
        for extent in part:
            tensor = dense[extent.index]
            weights[extent.index] = Weight(
                name=names[extent.index],
                storage=len(storages),
                dtype=str(tensor.dtype).removeprefix("torch."),
                shape=tuple(tensor.shape),
                stride=tuple(tensor.stride()),
                offset_bytes=extent.begin_bytes - begin_bytes,
            )
        storages.append(Storage(names[_first_index(part)], size_bytes))
    return PackedWeights(tuple(storages), tuple(weights[index] for index in range(len(names))), tuple(views))


def _dense(name: str, tensor: torch.Tensor, may_lack_values: bool) -> torch.Tensor:
    tensor = tensor.detach()
    if type(tensor) is not torch.Tensor or tensor.layout != torch.strided or tensor.is_quantized:
        raise ExportError(
            f"weight {name!r} is a {type(tensor).__name__} of layout {tensor.layout}; make it dense first"
        )
    if tensor.is_meta and not may_lack_values:
        raise ExportError(f"weight {name!r} has no values (it lies on the meta device); load the model's weights first")
    if str(tensor.dtype).removeprefix("torch.") not in ITEM_SIZE_BYTES:
        raise ExportError(f"weight {name!r} has dtype {tensor.dtype}, which deepplan cannot keep")
    if _end_bytes(tensor) > tensor.untyped_storage().nbytes():  # a copy would read what is no longer there
        raise ExportError(f"weight {name!r} was released; build or load the model again")
    return tensor if tensor.is_meta else tensor.resolve_conj().resolve_neg().cpu()


def _end_bytes(tensor: torch.Tensor) -> int:
    """Where the last element of `tensor` ends in its memory."""
    last = sum((int(n) - 1) * int(s) for n, s in zip(tensor.shape, tensor.stride()))
    count = 0 if tensor.numel() == 0 else 1 + last
    return (int(tensor.storage_offset()) + count) * tensor.element_size()


def _overlapping(extents: list[_Extent]) -> list[list[_Extent]]:
    """`extents` of one memory, cut into runs whose bytes overlap."""
    parts: list[list[_Extent]] = []
    end_bytes = -1
    for extent in sorted(extents, key=lambda extent: (extent.begin_bytes, extent.end_bytes)):
        if not parts or extent.begin_bytes >= end_bytes:
            parts.append([])
        parts[-1].append(extent)
        end_bytes = max(end_bytes, extent.end_bytes)
    return parts


def _first_index(part: list[_Extent]) -> int:
    return min(extent.index for extent in part)
