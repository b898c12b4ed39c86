"""What a served model's runs take: what the scheduler goes by."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from deepplan import _core

_BUDGET_S = 0.5  # for each kind of run
_LEAST, _MOST = 3, 30  # runs


def warm_ms(session: _core.Session, inputs: Sequence[torch.Tensor]) -> float:
    """From a call with inputs on the CPU to its outputs there; the model is resident afterwards."""
    return _median_ms(lambda: None, session, inputs)


def cold_ms(session: _core.Session, inputs: Sequence[torch.Tensor], links: int) -> float:
    """The same with nothing of the model on the target, over the first `links` links."""
    session.use_links(range(links))
    return _median_ms(session.evict, session, inputs)


def outputs_of(session: _core.Session, inputs: Sequence[torch.Tensor]) -> list[object]:
    """A call's flattened outputs, tensors on the CPU."""
    return [output.cpu() if isinstance(output, torch.Tensor) else output for output in session.run(list(inputs))]


def _median_ms(before: Callable[[], object], session: _core.Session, inputs: Sequence[torch.Tensor]) -> float:
    before()
    outputs_of(session, inputs)  # what only first runs cost
    times_ms: list[float] = []
    while len(times_ms) < _LEAST or (len(times_ms) < _MOST and sum(times_ms) < _BUDGET_S * 1e3):
        before()
        begin = time.perf_counter()
        outputs_of(session, inputs)
        times_ms.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times_ms)
