"""An exported model as a folder: graph.json, weights.safetensors, and plan.json and profile.json where there are any.

The weights are an ordinary safetensors file: one entry for each storage, under its first weight's name and with that
weight's dtype and shape, or as bytes where the storage is not simply that weight. They are memory-mapped when read,
nothing is ever unpickled, and no class is imported but transformers' outputs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from deepplan.errors import DocumentError, InvalidInputError
from deepplan.export import nesting
from deepplan.export.convert import Captured
from deepplan.export.graph import Graph, Storage, Weight
from deepplan.export.untrusted import check_operators
from deepplan.export.verify import extent_bytes
from deepplan.planning.documents import write_atomically

GRAPH, WEIGHTS, PLAN, PROFILE = "graph.json", "weights.safetensors", "plan.json", "profile.json"
_SAFETENSORS_DTYPES = frozenset(
    {"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"}
)


class Saveable(Protocol):
    """A plan or a profile."""

    def save(self, path: str | os.PathLike[str], /) -> None:
        """Writes it to `path`."""


@dataclass(frozen=True)
class ModelFolder:
    """What a folder holds: the model's name, its precision ("" for as it was), its batch size, graph and bytes."""

    name: str
    dtype: str
    batch_size: int
    captured: Captured


def write_folder(
    folder: str | os.PathLike[str],
    graph: Graph,
    storages: tuple[torch.Tensor, ...],
    *,
    plan: Saveable | None = None,
    profile: Saveable | None = None,
    name: str = "",
    dtype: str = "",
    batch_size: int = 1,
) -> None:
    """Writes the model to `folder`, which is made if it is not there. `storages` are one-dimensional uint8 tensors.

    Each file is replaced in one step, the graph last. Raises InvalidInputError if the folder cannot be written.
    """
    path = Path(folder)
    first = {weight.storage: weight for weight in reversed(graph.weights)}
    entries = {
        storage.name: _typed(memory, storage, first[index])
        for index, (storage, memory) in enumerate(zip(graph.storages, storages, strict=True))
    }
    about = {"name": name, "dtype": dtype, "batch_size": str(batch_size), "model_digest": graph.model_digest}
    try:
        path.mkdir(parents=True, exist_ok=True)
        _write_weights(path / WEIGHTS, entries, {"format": "pt", **about})
        for file, document in ((PLAN, plan), (PROFILE, profile)):
            if document is not None:
                document.save(path / file)
            else:
                (path / file).unlink(missing_ok=True)  # of a model that was there before
        write_atomically(path / GRAPH, graph.to_json())
    except OSError as error:
        raise InvalidInputError(f"cannot write to {path}: {error.strerror or error}; name another folder") from None


def read_folder(folder: str | os.PathLike[str], *, trust: bool = False) -> ModelFolder:
    """Reads the model in `folder`; its weights stay on disk until they are used.

    Unless the folder is trusted, a graph that calls operators of other libraries, or unchecked ones, is refused.
    Raises DocumentError, naming the file, if the folder holds no sound model.
    """
    path = Path(folder)
    try:
        text = (path / GRAPH).read_bytes()
    except OSError as error:
        raise DocumentError(f"{path} is not an exported model: cannot read {GRAPH} ({error.strerror})") from None
    try:
        graph = Graph.from_json(text)
        if not trust:
            check_operators(graph)
        _check_nesting(graph)
    except DocumentError as error:
        raise DocumentError(f"{path / GRAPH}: {error}") from None
    try:
        with safe_open(path / WEIGHTS, framework="pt", device="cpu") as weights:
            about = weights.metadata() or {}
            storages = tuple(_read_storage(weights, storage) for storage in graph.storages)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DocumentError(f"cannot read {path / WEIGHTS}: {str(error).splitlines()[0][:200]}") from None
    if about.get("model_digest") != graph.model_digest:
        raise DocumentError(f"{path}: {WEIGHTS} was not written with this {GRAPH}; export the model again")
    batch_size = about.get("batch_size", "1")
    if not batch_size.isdecimal() or len(batch_size) > 9:
        raise DocumentError(f"{path / WEIGHTS}: batch_size is {batch_size[:40]!r}")
    return ModelFolder(about.get("name", ""), about.get("dtype", ""), int(batch_size), Captured(graph, storages))


def _typed(memory: torch.Tensor, storage: Storage, weight: Weight) -> torch.Tensor:
    """`memory` as the weight that fills it, if one does and safetensors knows its dtype; else as it is."""
    expected = 1
    for size, stride in zip(reversed(weight.shape), reversed(weight.stride)):
        if size != 1 and stride != expected:
            return memory
        expected *= size
    fills = weight.offset_bytes == 0 and extent_bytes(weight) == storage.size_bytes
    if not fills or weight.dtype not in _SAFETENSORS_DTYPES:
        return memory
    return memory.view(getattr(torch, weight.dtype)).view(weight.shape)


def _write_weights(path: Path, entries: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        save_file(entries, partial, metadata)
        partial.chmod(mode)  # as any file that is made here; safetensors' own is for one user
        partial.replace(path)
    except SafetensorError as error:
        raise OSError(str(error)) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _read_storage(weights: Any, storage: Storage) -> torch.Tensor:
    tensor: torch.Tensor = weights.get_tensor(storage.name)
    memory = tensor.reshape(-1).view(torch.uint8)
    if memory.numel() != storage.size_bytes:
        raise DocumentError(f"{WEIGHTS}: {storage.name!r} has {memory.numel()} bytes, the graph {storage.size_bytes}")
    return memory


def _check_nesting(graph: Graph) -> None:
    for spec, leaves, what in (
        (graph.in_spec, len(graph.inputs), "inputs"),
        (graph.out_spec, len(graph.outputs), "outputs"),
    ):
        found = nesting.load(spec).leaves
        if found != leaves:
            raise DocumentError(f"the {what} are nested for {found} values but there are {leaves}")
