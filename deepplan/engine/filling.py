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
    storages = captured.storages
    last_of_memory = {_memory(storage): index for index, storage in enumerate(storages)}
    for batch in _batches(storages, _BATCH_BYTES) if release else [range(len(storages))]:
        _core.copy_bytes([session.storage_bytes(index) for index in batch], [storages[index] for index in batch])
        for index in batch:
            if release and last_of_memory[_memory(storages[index])] == index:
                _release(storages[index])


def _batches(storages: Sequence[torch.Tensor], limit_bytes: int) -> Iterator[range]:
    """Runs of consecutive storages, each of no more than `limit_bytes` or a single one."""
    begin, batch_bytes = 0, 0
    for index, storage in enumerate(storages):
        if index > begin and batch_bytes + storage.numel() > limit_bytes:
            yield range(begin, index)
            begin, batch_bytes = index, 0
        batch_bytes += storage.numel()
    yield range(begin, len(storages))


def _memory(storage: torch.Tensor) -> int:
    return storage.untyped_storage().data_ptr()


def _release(storage: torch.Tensor) -> None:
    memory = storage.untyped_storage()
    if memory.resizable():
        memory.resize_(0)
