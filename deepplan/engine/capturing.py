"""Runs captured as CUDA graphs: all kernels up to the next wait for weights are one launch, a warm run is a single one.

torch's allocator has to know of a capture, so torch begins and ends it; what happens in between, and every launch
afterwards, is the runtime's. All captured runs of a GPU work in one private pool of memory, since they take turns.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
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
        self._inputs = inputs
        self._device = device
        self._dtype = dtype
        self._graphs: dict[Kind, torch.cuda.CUDAGraph] = {}  # they keep the memory that captured runs work in
        self.refusal: str | None = None
        self.device_bytes = 0
        self._charges: list[_core.BudgetCharge] = []

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
            free_bytes = None
            try:
                self._rehearse(place)
                free_bytes = _core.memory_info(self._device)[0]
                for kind in missing:
                    with machine.target(self._device).turn():
                        graph = place.record(functools.partial(self._session.capture, kind.cold, kind.timed))
                    self._session.adopt(graph.raw_cuda_graph(), kind.cold, kind.timed)
                    self._graphs[kind] = graph
            except (RuntimeError, DeepPlanError) as error:
                self.refusal = (str(error).splitlines() or [type(error).__name__])[0]
            if free_bytes is not None:
                self._charge(free_bytes - _core.memory_info(self._device)[0])
            self._session.evict()
            torch.cuda.synchronize()

    def forget(self) -> None:
        """Lets go of everything, once it has run, never to be launched again; what was refused may be tried again."""
        if self._graphs:
            torch.cuda.synchronize(self._device)
        self._graphs.clear()
        self.refusal = None
        self._charges.clear()
        self.device_bytes = 0

    def _rehearse(self, place: _Place) -> None:
        inputs = [tensor.to(self._device) for tensor in self._inputs]
        generator = torch.cuda.default_generators[place.stream.device_index]
        before = generator.get_offset()
        self._session.prepare_capture()
        self._session.evict()
        place.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(place.stream):
            for _ in range(2):
                self._session.run(inputs)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # of what these runs worked in
        if generator.get_offset() != before:
            raise DeepPlanError("it draws random numbers, which a graph would repeat")

    def _charge(self, taken_bytes: int) -> None:
        taken_bytes = max(0, taken_bytes)  # others may have given memory back meanwhile
        self.device_bytes += taken_bytes
        self._charges.append(machine.target(self._device).charge(taken_bytes))


class _Place:
    """Where captures of one GPU happen, and the private pool of memory that all of its captured runs work in."""

    def __init__(self, device: str) -> None:
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()

    def record(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """What `work` gives to the current stream. Whatever it raises leaves torch as it was before."""
        if not self._graphs:  # torch gives a pool up with its last graph, and refuses its handle then
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph(keep_graph=True)
        with torch.cuda.stream(self.stream), _no_collection():  # a graph that is destroyed ends every capture
            try:
                # Other threads may go on using the GPU.
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                work()
                graph.capture_end()
            except BaseException:
                self._abandon(graph)
                raise
        self._graphs.add(graph)
        return graph

    def _abandon(self, graph: torch.cuda.CUDAGraph) -> None:
        """Ends a capture that failed. torch leaves its allocator and its random numbers in the capture then."""
        with contextlib.suppress(RuntimeError):
            graph.capture_end()
        with contextlib.suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(self.stream.device_index, self._pool)
        sound = torch.cuda.CUDAGraph(keep_graph=True)
        sound.capture_begin(capture_error_mode="thread_local")
        torch.zeros(1, device=self.stream.device)
        sound.capture_end()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_lock = threading.Lock()  # one capture at a time
_places: dict[str, _Place] = {}


def _place(device: str) -> _Place:
    if device not in _places:
        _places[device] = _Place(device)
    return _places[device]
