"""The latency of one method on one model: what `deepplan benchmark` prints and the figures draw."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from deepplan.engine.session import Session
from deepplan.errors import InvalidInputError, UnknownNameError

ENGINES = ("in_memory", "demand", "pipeline", "deepplan")
_POLICY = {"in_memory": "load_all", "demand": "load_all", "pipeline": "pipeswitch", "deepplan": "optimal"}


def policy_of(engine: str, policy: str | None = None) -> str:
    """The policy whose plan an engine executes; only `deepplan` lets the user choose (DeepPlan, EuroSys'23, section 5).

    Raises UnknownNameError for an unknown engine, InvalidInputError for a policy that another engine fixes.
    """
    if engine not in _POLICY:
        raise UnknownNameError(f"no engine {engine!r}; there are {', '.join(ENGINES)}")
    if policy is not None and engine != "deepplan":
        raise InvalidInputError(f"--policy goes with the engine deepplan; {engine} always uses {_POLICY[engine]}")
    return policy or _POLICY[engine]


@dataclass(frozen=True)
class Latencies:
    """Repeated cold starts of one session (warm runs for `in_memory`), by the host's clock, in ms.

    A latency runs from the call to the output being ready, with the inputs on the target. `stall_ms` is how long the
    target idled for weights in one cold start with clocks.
    """

    cold_ms: tuple[float, ...]
    warm_ms: float
    stall_ms: float

    @property
    def median_ms(self) -> float:
        return statistics.median(self.cold_ms)

    @property
    def mean_ms(self) -> float:
        return statistics.fmean(self.cold_ms)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile, nearest rank: the slowest of fewer than a hundred."""
        ordered = sorted(self.cold_ms)
        return ordered[max(0, -(-99 * len(ordered) // 100) - 1)]


def measure(
    session: Session,
    inputs: list[torch.Tensor],
    *,
    warm_only: bool,
    repeats: int,
    report: Callable[[float], None] = lambda share: None,
) -> Latencies:
    """Runs `session` on the flattened `inputs` after one warm-up of each kind, cold ones over poisoned memory."""
    if repeats < 1:
        raise InvalidInputError(f"--repeat {repeats}: at least 1 run is needed")
    on_target = [tensor.to(session.torch_target) for tensor in inputs]
    for _ in range(2):
        _timed(session, on_target)
    warm = [_timed(session, on_target) for _ in range(min(repeats, 20))]
    cold: list[float] = []
    for index in range(repeats):
        if not warm_only:
            session.evict(poison=True)
        cold.append(_timed(session, on_target))
        report((index + 1) / repeats)
    stall_ms = 0.0 if warm_only else session.timeline().stall_ms
    return Latencies(tuple(cold), statistics.median(warm), stall_ms)


def _timed(session: Session, inputs: list[torch.Tensor]) -> float:
    session.synchronize()
    started = time.perf_counter()
    session.run_flat(inputs)
    session.synchronize()
    return (time.perf_counter() - started) * 1e3
