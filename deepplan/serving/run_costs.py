"""What a served model's runs take: what the scheduler goes by.

Instances are measured in turn, as they are served: a graph that they share moves to whose turn it is, and GPUs that
load at a time read different parts of host memory. Which part it is matters by some percent, so they are taken from all
over it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate, cycle

import torch

from deepplan import _core

_BUDGET_S = 0.5  # for each kind of run
_CROWDED_BUDGET_S = 0.2  # of which there are many with many GPUs
_LEAST, _MOST = 2, 30  # runs of all instances, and of each
_PASSES = 2


def warm_ms(instances: Sequence[_core.Session], inputs: Sequence[torch.Tensor]) -> float:
    """From a call with inputs on the CPU to its outputs there; those measured are resident afterwards."""
    for session in instances:
        session.answer(list(inputs))
    fitting = [session for session in instances if session.is_resident]  # one where not all of them fit
    return _typical_ms(lambda _: None, fitting, inputs, _BUDGET_S)


def cold_ms(
    by_gpu: Sequence[Sequence[_core.Session]], inputs: Sequence[torch.Tensor], links: int
) -> tuple[tuple[float, ...], ...]:
    """The same with nothing of the model on the first GPU, over 1, 2, ... and `links` links: a row for each number of
    others, from none, that meanwhile load over their own links. `by_gpu` has the same instances on each; GPUs take
    different ones in turn, if there are enough."""
    # Neighbours on the machine slow all of a measurement at times, and nothing makes one faster.
    found = [tuple(_cold_rows(by_gpu, inputs, links)) for _ in range(_PASSES)]
    fastest = [tuple(map(min, *rows)) for rows in zip(*found, strict=True)]
    # Faster than with fewer others is noise.
    return tuple(accumulate(fastest, lambda fewer, more: tuple(map(max, more, fewer))))


def _cold_rows(
    by_gpu: Sequence[Sequence[_core.Session]], inputs: Sequence[torch.Tensor], links: int
) -> Iterator[tuple[float, ...]]:
    gpus = len(by_gpu)
    own, *others = (sessions[gpu % len(sessions) :: gpus] for gpu, sessions in enumerate(by_gpu))

    for loading in range(gpus):
        budget_s = _BUDGET_S if loading == 0 else _CROWDED_BUDGET_S
        counts = range(1, min(links, gpus - loading) + 1)
        with _loading(others[gpus - 1 - loading :], inputs):
            row = tuple(_cold_over_ms(range(count), own, inputs, budget_s) for count in counts)
        yield row


def _cold_over_ms(
    links: Sequence[int], instances: Sequence[_core.Session], inputs: Sequence[torch.Tensor], budget_s: float
) -> float:
    def leave(session: _core.Session) -> None:
        # The last one stays, so that this one lies elsewhere; more could leave no room for what runs need besides.
        for leaving in (session, instances[(instances.index(session) - 2) % len(instances)]):
            leaving.evict()
        session.use_links(links)

    found = _typical_ms(leave, instances, inputs, budget_s)
    for session in instances:
        session.evict()
    return found


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


def _typical_ms(
    before: Callable[[_core.Session], object],
    instances: Sequence[_core.Session],
    inputs: Sequence[torch.Tensor],
    budget_s: float,
) -> float:
    """Of calls of the instances in turn, after one of each: what only first runs cost. The mean over instances, which
    may lie in faster and slower memory, of their medians."""
    times_ms: list[list[float]] = [[] for _ in instances]
    spent_ms = 0.0
    for count in range(-1, _MOST):
        for session, of_session in zip(instances, times_ms, strict=True):
            before(session)
            begin = time.perf_counter()
            session.answer(list(inputs))
            taken_ms = (time.perf_counter() - begin) * 1e3
            if count >= 0:
                of_session.append(taken_ms)
                spent_ms += taken_ms
        if (count + 1) * len(instances) >= _LEAST and spent_ms >= budget_s * 1e3:
            break
    return statistics.fmean(map(statistics.median, times_ms))
