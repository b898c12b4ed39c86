"""Runs captured as CUDA graphs: all kernels up to the next wait for weights are one launch, a warm run is a single one.

torch's allocator has to know of a capture, so torch begins and ends it; what happens in between, and every launch
afterwards, is the runtime's. All captured runs of a GPU work in one private pool of memory, since they take turns.
A second capture, over weights that seem to lie elsewhere, tells where a graph keeps their addresses, so that it can be
launched wherever they are.
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
    are issued operator by operator then. `staying` says why what was captured cannot move with the weights: elsewhere
    they are, too. `device_bytes` is what the captures took, charged to the target's budget; `torch_bytes` of these
    are torch's.
    """

    def __init__(self, session: _core.Session, inputs: Sequence[torch.Tensor], device: str, dtype: str | None) -> None:
        self._session = session
        self._inputs = inputs
        self.device = device
        self._dtype = dtype
        self._graphs: dict[Kind, torch.cuda.CUDAGraph] = {}  # they keep the memory that captured runs work in
        self.refusal: str | None = None
        self.staying: str | None = None
        self.device_bytes = 0
        self.torch_bytes = 0
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
        with _lock, precision(self._dtype), torch.cuda.device(self.device):
            place = _place(self.device)
            before = None
            try:
                self._rehearse(place)
                before = self._memory_in_use()
                for kind in missing:
                    self._graphs[kind] = self._capture(place, kind)
            except (RuntimeError, DeepPlanError) as error:
                self.refusal = _first_line(error)
            if before is not None:
                self._charge(before)
            self._session.evict()
            torch.cuda.synchronize()

    def forget(self) -> None:
        """Lets go of everything, once it has run, never to be launched again; what was refused may be tried again.

        Sessions that share it must be gone.
        """
        if self._graphs:
            torch.cuda.synchronize(self.device)
        self._session.forget_captured()
        self._graphs.clear()
        self.refusal = self.staying = None
        self._charges.clear()
        self.device_bytes = self.torch_bytes = 0

    def _capture(self, place: _Place, kind: Kind) -> torch.cuda.CUDAGraph:
        graph = self._record(place, kind, shifted=False)
        try:
            shifted = self._record(place, kind, shifted=True)
            self._session.adopt(graph.raw_cuda_graph(), shifted.raw_cuda_graph(), kind.cold, kind.timed)
        except (RuntimeError, DeepPlanError) as error:
            self.staying = _first_line(error)
            self._session.adopt(graph.raw_cuda_graph(), 0, kind.cold, kind.timed)
        return graph

    def _record(self, place: _Place, kind: Kind, shifted: bool) -> torch.cuda.CUDAGraph:
        with machine.target(self.device).turn():
            return place.record(functools.partial(self._session.capture, kind.cold, kind.timed, shifted))

    def _rehearse(self, place: _Place) -> None:
        inputs = [tensor.to(self.device) for tensor in self._inputs]
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

    def _memory_in_use(self) -> tuple[int, int]:
        """By everybody, and of that by torch."""
        free_bytes, total_bytes = _core.memory_info(self.device)
        return total_bytes - free_bytes, torch.cuda.memory_reserved(self.device)

    def _charge(self, before: tuple[int, int]) -> None:
        # Others may have given memory back meanwhile.
        taken_bytes, torch_bytes = (max(0, now - then) for now, then in zip(self._memory_in_use(), before))
        self.device_bytes += taken_bytes
        self.torch_bytes += torch_bytes
        self._charges.append(machine.target(self.device).charge(taken_bytes))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
