"""What is said between whoever speaks to clients (HTTP, gRPC, a load generator) and the engine that runs models.

Tensors travel as bytes: what a client sent reaches the engine, and its answer the client, without torch in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

# Element types by their names in the Open Inference Protocol v2, and the bytes an element takes. Strings (BYTES) are
# not among them: no model here takes any.
ITEM_SIZE_BYTES: Mapping[str, int] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model; `datatype` is a key of ITEM_SIZE_BYTES, `shape` is exact."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorData:
    """A tensor's elements in C order, little-endian."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | bytearray | memoryview


@dataclass(frozen=True)
class ModelMetadata:
    """One served instance: how it is called. Requests are of one batch; the engine may run several together."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Inference:
    """An answer, and what became of the request on its way.

    `queue_ms` is from its arrival at the engine to the begin of its run, `run_ms` the run, provisioning included where
    it was `cold`. Of the requests that were run together, `batch_size` with padding, one `leads_batch`.
    """

    outputs: tuple[TensorData, ...]
    gpu: int
    cold: bool
    batch_size: int
    leads_batch: bool
    queue_ms: float
    run_ms: float


@dataclass(frozen=True)
class GpuStatus:
    """One GPU: what models may take of its memory, what they take, who is resident and how many requests wait."""

    name: str
    memory_budget_bytes: int
    memory_used_bytes: int
    resident: tuple[str, ...]
    queued: int


@dataclass(frozen=True)
class EngineStatus:
    """The engine at one moment; counters run from its start. `path_bytes` is by "pcie", "nvlink", "zero_copy"."""

    gpus: tuple[GpuStatus, ...]
    pinned_total_bytes: int
    pinned_used_bytes: int
    evictions: int
    path_bytes: Mapping[str, int]
    restarts: int


class Engine(Protocol):
    """Runs requests of the models it serves. One event loop calls it; nothing in it blocks that loop."""

    @property
    def ready(self) -> bool:
        """Whether every model is registered and requests are taken."""

    @property
    def models(self) -> Mapping[str, ModelMetadata]:
        """The instances registered so far, by name."""

    async def infer(self, model: str, inputs: Sequence[TensorData], traceparent: str | None = None) -> Inference:
        """Runs one request; the model is provisioned if it must be. Inputs are complete, in the order of the metadata
        and of its types and shapes. Cancelling gives the place in the queue up.

        Raises UnknownNameError; OverloadedError where the objective cannot be held; UnavailableError while the engine
        does not run or drains; RunError where the model failed; DeviceError where its GPU did, for good.
        """

    async def evict(self, model: str) -> None:
        """Takes the model out of GPU memory once what is queued has run; the next request provisions it again."""

    async def status(self) -> EngineStatus:
        """What the engine holds and does at this moment."""
