"""What a served model's runs take: what the scheduler goes by.

Instances are measured in turn, as they are served: a graph that they share moves to whose turn it is, and GPUs that
load at a time read different parts of host memory.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle

import torch

from deepplan import _core

_BUDGET_S = 0.5  # for each kind of run
_CROWDED_BUDGET_S = 0.2  # of which there are many with many GPUs
_LEAST, _MOST = 3, 30  # runs


def warm_ms(instances: Sequence[_core.Session], inputs: Sequence[torch.Tensor]) -> float:
    """From a call with inputs on the CPU to its outputs there; those measured are resident afterwards."""
    for session in instances:
        session.run(list(inputs))
    fitting = [session for session in instances if session.is_resident]  # one where not all of them fit
    return _median_ms(lambda _: None, fitting, inputs, _BUDGET_S)


def cold_ms(
    instances: Sequence[_core.Session], inputs: Sequence[torch.Tensor], links: int, budget_s: float = _BUDGET_S
) -> float:
    """The same with nothing of the model on the target, over the first `links` links."""

    def leave(session: _core.Session) -> None:
        session.evict()
        session.use_links(range(links))

    found = _median_ms(leave, instances, inputs, budget_s)
    for session in instances:
        session.evict()
    return found


def crowded_ms(
    by_gpu: Sequence[Sequence[_core.Session]], inputs: Sequence[torch.Tensor], alone_ms: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    """Cold starts on the first GPU while 1, 2, ... others load, each over its own link and one instance of its own:
    `CrowdedMs` of `deepplan.serving.simulation`, beside which `alone_ms` are those over 1, 2, ... links with nobody
    else. `by_gpu` has the same instances on each."""
    rows = [tuple(alone_ms)]
    for others in range(1, len(by_gpu)):
        links = range(1, min(len(alone_ms), len(by_gpu) - others) + 1)
        gpus = range(len(by_gpu) - others, len(by_gpu))
        with _loading([by_gpu[gpu][(gpu + 1) % len(by_gpu[gpu])] for gpu in gpus], inputs):
            found = [cold_ms(by_gpu[0][:2], inputs, count, _CROWDED_BUDGET_S) for count in links]
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
    before: Callable[[_core.Session], object],
    instances: Sequence[_core.Session],
    inputs: Sequence[torch.Tensor],
    budget_s: float,
) -> float:
    """Of calls of the instances in turn, after one of each: what only first runs cost."""
    times_ms: list[float] = []
    for count, session in enumerate(cycle(instances), 1 - len(instances)):
        before(session)
        begin = time.perf_counter()
        outputs_of(session, inputs)
        if count > 0:
            times_ms.append((time.perf_counter() - begin) * 1e3)
        if count >= _MOST or (count >= _LEAST and sum(times_ms) >= budget_s * 1e3):
            break
    return statistics.median(times_ms)
