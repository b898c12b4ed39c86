"""The last requests, for a person who looks at the server: latencies, cold and warm, and cold starts one by one."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from deepplan.serving.inference import Inference

_LATENCIES = 1000
_COLD_STARTS = 60


@dataclass(frozen=True)
class ColdStart:
    """One cold start that ended at `ended_s` (Unix time) after waiting `queue_ms` and running `run_ms` on `gpu`."""

    model: str
    gpu: int
    ended_s: float
    queue_ms: float
    run_ms: float


@dataclass(frozen=True)
class Percentiles:
    """Of so many latencies; None where there are none."""

    count: int
    p50_ms: float | None
    p99_ms: float | None


class Recent:
    """Of bounded size, whatever the load."""

    def __init__(self) -> None:
        self._latency_ms: dict[bool, deque[float]] = {cold: deque(maxlen=_LATENCIES) for cold in (False, True)}
        self.cold_starts: deque[ColdStart] = deque(maxlen=_COLD_STARTS)

    def record(self, model: str, inference: Inference, latency_ms: float) -> None:
        self._latency_ms[inference.cold].append(latency_ms)
        if inference.cold and inference.leads_batch:
            self.cold_starts.append(
                ColdStart(model, inference.gpu, time.time(), inference.queue_ms, inference.run_ms),
            )

    def percentiles(self, *, cold: bool) -> Percentiles:
        """The median and the 99th percentile, by the nearest rank."""
        ordered = sorted(self._latency_ms[cold])
        if not ordered:
            return Percentiles(0, None, None)
        count = len(ordered)
        p50_ms, p99_ms = (ordered[-(-percent * count // 100) - 1] for percent in (50, 99))
        return Percentiles(count, p50_ms, p99_ms)
