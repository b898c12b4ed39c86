"""Runs captured as CUDA graphs, so that a cold start is one launch: its copies, its waits and its kernels.

torch's allocator has to know of a capture, so torch begins and ends it; what happens in between, and every launch
afterwards, is the runtime's. All captured runs of a GPU work in one private pool of memory, since they take turns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.precision import precision
from deepplan.errors import DeepPlanError


@dataclass(frozen=True)
class Kind:
    """A cold run or a warm one, with or without clocks around its layers and groups."""

    cold: bool
    timed: bool = False


COLD, WARM = Kind(cold=True), Kind(cold=False)


class Captures:
    """The captured runs of one session, whose target is `device` ("cuda:0").

    `inputs` are tensors of its signature, `dtype` its precision. `refusal` says why runs could not be captured: they
    are issued operator by operator then. `device_bytes` is what the captures took, charged to the target's budget.
    """

    def __init__(self, session: _core.Session, inputs: Sequence[torch.Tensor], device: str, dtype: str | None) -> None:
        self._session = session
        self._inputs = [tensor.to(device) for tensor in inputs]
        self._device = device
        self._dtype = dtype
        self._graphs: dict[Kind, torch.cuda.CUDAGraph] = {}  # they keep the memory that captured runs work in
        self.refusal: str | None = None
        self.device_bytes = 0

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What was captured."""
        return tuple(self._graphs)

    def add(self, *kinds: Kind) -> None:
        """Captures runs of these kinds, unless they are, or it is known that they cannot be.

        Before a capture the model is run cold and warm, so that nothing that only first runs do is part of it. If
        anything was captured the model is not resident afterwards.
        """
        missing = [kind for kind in kinds if kind not in self._graphs]
        if not missing or self.refusal is not None:
            return
        with _lock, precision(self._dtype), torch.cuda.device(self._device):
            place = _place(self._device)
            try:
                self._rehearse(place)
                free_bytes = _core.memory_info(self._device)[0]
                for kind in missing:
                    self._graphs[kind] = _capture(self._session, kind, place)
                self._charge(free_bytes - _core.memory_info(self._device)[0])
            except (RuntimeError, DeepPlanError) as error:
                self.refusal = (str(error).splitlines() or [type(error).__name__])[0]
            self._session.evict()
            torch.cuda.synchronize()

    def forget(self) -> None:
        """Lets go of everything; the runtime must have dropped its part. What was refused may be tried again."""
        self._graphs.clear()
        self.refusal = None
        self._charge(-self.device_bytes)

    def _rehearse(self, place: _Place) -> None:
        generator = torch.cuda.default_generators[place.stream.device_index]
        before = generator.get_offset()
        self._session.prepare_capture()
        self._session.evict()
        place.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(place.stream):
            for _ in range(2):
                self._session.run(self._inputs)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # of what these runs worked in
        if generator.get_offset() != before:
            raise DeepPlanError("it draws random numbers, which a graph would repeat")

    def _charge(self, more_bytes: int) -> None:
        more_bytes = max(more_bytes, -self.device_bytes)
        self.device_bytes += more_bytes
        machine.target(self._device).charge(more_bytes)


@dataclass(frozen=True)
class _Place:
    """Where captures of one GPU happen, and the memory that all of its captured runs share."""

    stream: torch.cuda.Stream
    pool: Any  # torch's handle of a private pool


_lock = threading.Lock()  # one capture at a time
_places: dict[str, _Place] = {}


def _place(device: str) -> _Place:
    if device not in _places:
        stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        _places[device] = _Place(stream, torch.cuda.graph_pool_handle())
    return _places[device]


def _capture(session: _core.Session, kind: Kind, place: _Place) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph(keep_graph=True)
    with torch.cuda.stream(place.stream):
        # Other threads may go on using the GPU.
        graph.capture_begin(pool=place.pool, capture_error_mode="thread_local")
        try:
            session.capture(kind.cold, kind.timed)
        except BaseException:
            with contextlib.suppress(RuntimeError):
                graph.capture_end()
            with contextlib.suppress(RuntimeError):  # where ending fails, torch leaves its allocator in the capture
                torch._C._cuda_endAllocateToPool(place.stream.device_index, place.pool)
            raise
        graph.capture_end()
    session.adopt(graph.raw_cuda_graph(), kind.cold, kind.timed)
    return graph
