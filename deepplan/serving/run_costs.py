"""What a served model's runs take: what the scheduler goes by.

Instances are measured in turn, as they are served: a graph that they share moves to whose turn it is, and GPUs that
load at a time read different parts of host memory. Which part it is matters by some percent, so they are taken from all
over it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate, cycle

import torch

from deepplan import _core

_SLICE_S = 0.1  # of calls of one kind, and then those of the next kind
_SLICES, _LEAST = 5, 2  # fewer of what takes long even at its fastest: what is disturbed needs them all
_LONG_S = 0.25


def warm_ms(instances: Sequence[_core.Session], inputs: Sequence[torch.Tensor]) -> float:
    """From a call with inputs on the CPU to its outputs there; those measured are resident afterwards."""
    for session in instances:
        session.answer(list(inputs))
    calls = _Calls([session for session in instances if session.is_resident], inputs)  # one where not all of them fit
    while not calls.are_enough:
        calls.add_slice()
    return calls.typical_ms


def cold_ms(
    by_gpu: Sequence[Sequence[_core.Session]], inputs: Sequence[torch.Tensor], links: int
) -> tuple[tuple[float, ...], ...]:
    """The same with nothing of the model on the first GPU, over 1, 2, ... and `links` links: a row for each number of
    others, from none, that meanwhile load over their own links. `by_gpu` has the same instances on each; GPUs take
    different ones in turn, if there are enough."""
    gpus = len(by_gpu)
    own, *others = (sessions[gpu % len(sessions) :: gpus] for gpu, sessions in enumerate(by_gpu))
    rows = [[_ColdCalls(own, inputs, over + 1) for over in range(min(links, gpus - beside))] for beside in range(gpus)]
    # Neighbours on the machine slow all that loads for some tenths of a second at a time: the calls that make one cost
    # are to lie seconds apart.
    while not all(calls.are_enough for row in rows for calls in row):
        for beside, row in enumerate(rows):
            with _loading(others[gpus - 1 - beside :], inputs):
                for calls in row:
                    calls.add_slice()
    found = (tuple(calls.typical_ms for calls in row) for row in rows)
    # Faster than with fewer others is noise.
    return tuple(accumulate(found, lambda fewer, more: tuple(map(max, more, fewer))))


class _Calls:
    """How long calls of one kind take, of instances in turn."""

    def __init__(self, instances: Sequence[_core.Session], inputs: Sequence[torch.Tensor]) -> None:
        self._instances, self._inputs = instances, inputs
        self._times_s: list[list[float]] = [[] for _ in instances]
        self._slices = 0

    @property
    def are_enough(self) -> bool:
        return self._slices >= _SLICES or (self._slices >= _LEAST and min(map(min, self._times_s)) >= _LONG_S)

    @property
    def typical_ms(self) -> float:
        """The mean over instances, which may lie in faster and slower memory, of their medians."""
        return 1e3 * statistics.fmean(map(statistics.median, self._times_s))

    def add_slice(self) -> None:
        """After a call of each that does not count: others have run since, or nobody has."""
        self._call_each()
        spent_s = 0.0
        while spent_s < _SLICE_S:
            found_s = self._call_each()
            spent_s += sum(found_s)
            for times_s, found in zip(self._times_s, found_s, strict=True):
                times_s.append(found)
        self._slices += 1

    def _call_each(self) -> list[float]:
        found_s = []
        for session in self._instances:
            self._prepare(session)
            begin = time.perf_counter()
            session.answer(list(self._inputs))
            found_s.append(time.perf_counter() - begin)
        return found_s

    def _prepare(self, session: _core.Session) -> None:
        pass


class _ColdCalls(_Calls):
    """Of cold starts over so many links. None of the instances is there before and after a slice."""

    def __init__(self, instances: Sequence[_core.Session], inputs: Sequence[torch.Tensor], links: int) -> None:
        super().__init__(instances, inputs)
        self._links = range(links)

    def add_slice(self) -> None:
        super().add_slice()
        for session in self._instances:
            session.evict()

    def _prepare(self, session: _core.Session) -> None:
        # The last one stays, so that this one lies elsewhere; more could leave no room for what runs need besides.
        for leaving in (session, self._instances[(self._instances.index(session) - 2) % len(self._instances)]):
            leaving.evict()
        session.use_links(self._links)


@contextmanager
def _loading(by_gpu: Sequence[Sequence[_core.Session]], inputs: Sequence[torch.Tensor]) -> Iterator[None]:
    """Meanwhile a session on each of the GPUs starts cold, and then another."""
    ended = threading.Event()

    def load(sessions: Sequence[_core.Session]) -> None:
        for session in cycle(sessions):
            session.use_links([0])
            session.answer(list(inputs))
            session.evict()
            if ended.is_set():
                return

    with ThreadPoolExecutor(max(1, len(by_gpu))) as executor:
        loads = [executor.submit(load, sessions) for sessions in by_gpu]
        try:
            yield
        finally:
            ended.set()
    for done in loads:
        done.result()  # raises what went wrong there
