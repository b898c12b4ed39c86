"""Brings the weights of a captured model to their places in pinned memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from deepplan import _core
from deepplan.export.convert import Captured

_BATCH_BYTES = 256 << 20  # that are copied at once while the module's own copy is being freed


def fill(session: _core.Session, captured: Captured, *, release: bool = False) -> None:
    """Writes every storage of `captured` to its place in `session`, by as many threads as memory is worth.

    `release` frees the module's own memory on the way, so that beside the pinned copy there is never more of the
    model than was there before. Memory that is mapped from a file cannot be freed, and need not be: it is the file's.
    """
    places = [session.storage_bytes(index) for index in range(len(captured.storages))]
    present = [index for index, storage in enumerate(captured.storages) if not storage.is_meta]
    last_of_memory = {_memory(captured.storages[index]): index for index in present}
    for batch in _batches(captured.storages, present, _BATCH_BYTES) if release else [present]:
        _core.copy_bytes([places[index] for index in batch], [captured.storages[index] for index in batch])
        for index in batch:
            if release and last_of_memory[_memory(captured.storages[index])] == index:
                _release(captured.storages[index])
    _draw(captured, places)


def storages_with_values(captured: Captured) -> tuple[torch.Tensor, ...]:
    """The storages of `captured`; those on the meta device get memory and values."""
    storages = tuple(
        torch.empty_like(storage, device="cpu") if storage.is_meta else storage for storage in captured.storages
    )
    _draw(captured, storages)
    return storages


def _draw(captured: Captured, places: Sequence[torch.Tensor]) -> None:
    """Has the weights of storages on the meta device written into `places`, tied ones once."""
    done = set()
    for weight in captured.graph.weights:
        extent = (weight.storage, weight.offset_bytes, weight.dtype, weight.shape, weight.stride)
        if not captured.storages[weight.storage].is_meta or extent in done:
            continue
        done.add(extent)
        assert captured.fill_weight is not None  # `capture` refuses such a module otherwise
        place, dtype = places[weight.storage], getattr(torch, weight.dtype)
        begin = (place.storage_offset() + weight.offset_bytes) // dtype.itemsize
        view = torch.empty(0, dtype=dtype).set_(place.untyped_storage(), begin, weight.shape, weight.stride)
        captured.fill_weight(weight.name, view)


def _batches(storages: Sequence[torch.Tensor], indices: Sequence[int], limit_bytes: int) -> Iterator[list[int]]:
    """`indices` in runs, each of storages of no more than `limit_bytes` together or of a single one."""
    batch: list[int] = []
    for index in indices:
        if batch and sum(storages[i].numel() for i in (*batch, index)) > limit_bytes:
            yield batch
            batch = []
        batch.append(index)
    yield batch


def _memory(storage: torch.Tensor) -> int:
    return storage.untyped_storage().data_ptr()


def _release(storage: torch.Tensor) -> None:
    memory = storage.untyped_storage()
    if memory.resizable():
        memory.resize_(0)
