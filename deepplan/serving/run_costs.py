"""What a served model's runs take: what the scheduler goes by."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from deepplan import _core

_BUDGET_S = 0.5  # for each kind of run
_CROWDED_BUDGET_S = 0.2  # of which there are many with many GPUs
_LEAST, _MOST = 3, 30  # runs


def warm_ms(session: _core.Session, inputs: Sequence[torch.Tensor]) -> float:
    """From a call with inputs on the CPU to its outputs there; the model is resident afterwards."""
    return _median_ms(lambda: None, session, inputs, _BUDGET_S)


def cold_ms(session: _core.Session, inputs: Sequence[torch.Tensor], links: int, budget_s: float = _BUDGET_S) -> float:
    """The same with nothing of the model on the target, over the first `links` links."""
    session.use_links(range(links))
    return _median_ms(session.evict, session, inputs, budget_s)


def crowded_ms(
    by_gpu: Sequence[_core.Session], inputs: Sequence[torch.Tensor], alone_ms: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    """Cold starts on the first GPU while 1, 2, ... others load, each over its own link: `CrowdedMs` of
    `deepplan.serving.simulation`, beside which `alone_ms` are those over 1, 2, ... links with nobody else."""
    rows = [tuple(alone_ms)]
    for others in range(1, len(by_gpu)):
        links = range(1, min(len(alone_ms), len(by_gpu) - others) + 1)
        with _loading(by_gpu[-others:], inputs):
            found = [cold_ms(by_gpu[0], inputs, count, _CROWDED_BUDGET_S) for count in links]
        rows.append(tuple(map(max, found, rows[-1])))  # faster than with fewer others is noise
    return tuple(rows[1:])


@contextmanager
def _loading(sessions: Sequence[_core.Session], inputs: Sequence[torch.Tensor]) -> Iterator[None]:
    """Meanwhile each session starts cold again and again."""
    ended = threading.Event()

    def load(session: _core.Session) -> None:
        session.use_links([0])
        while not ended.is_set():
            session.evict()
            outputs_of(session, inputs)
        session.evict()

    with ThreadPoolExecutor(len(sessions)) as executor:
        loads = [executor.submit(load, session) for session in sessions]
        try:
            yield
        finally:
            ended.set()
    for done in loads:
        done.result()  # raises what went wrong there


def outputs_of(session: _core.Session, inputs: Sequence[torch.Tensor]) -> list[object]:
    """A call's flattened outputs, tensors on the CPU."""
    return [output.cpu() if isinstance(output, torch.Tensor) else output for output in session.run(list(inputs))]


def _median_ms(
    before: Callable[[], object], session: _core.Session, inputs: Sequence[torch.Tensor], budget_s: float
) -> float:
    before()
    outputs_of(session, inputs)  # what only first runs cost
    times_ms: list[float] = []
    while len(times_ms) < _LEAST or (len(times_ms) < _MOST and sum(times_ms) < budget_s * 1e3):
        before()
        begin = time.perf_counter()
        outputs_of(session, inputs)
        times_ms.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times_ms)
