"""What a run of a workload, measured or simulated, amounts to: a document that is saved, printed and compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from deepplan.client.requests import COLD_UNKNOWN, Requests
from deepplan.client.transport import Status
from deepplan.planning.documents import Document
from deepplan.planning.records import Count, Index, Milliseconds, Range, Record
from deepplan.serving.arrivals import MINUTE_MS

Number = Annotated[int, Range(0, 2**31)]
Share = Annotated[float, Range(0, 1)]
PerSecond = Annotated[float, Range(0, 1e12)]

DISTORTED_FROM = 0.1  # the p99 of sending late, as a share of the p99 of latencies


@dataclass(frozen=True)
class Summary(Record):
    """What became of some requests; None where there is nothing to take it of.

    Latencies are of answers, from when the request was due; `queue_p99_ms` and `run_p99_ms` are what the server says of
    waiting and of running, provisioning included. `goodput` is the share of all requests that were answered within the
    objective; refused and failed ones were not. `cold_rate` is the share of cold starts in those answers of which the
    server said it.
    """

    requests: Number
    answered: Number
    refused: Number
    failed: Number
    mean_ms: Milliseconds | None
    p50_ms: Milliseconds | None
    p99_ms: Milliseconds | None
    p999_ms: Milliseconds | None
    queue_p99_ms: Milliseconds | None
    run_p99_ms: Milliseconds | None
    goodput: Share | None
    cold_rate: Share | None

    @classmethod
    def of(cls, requests: Requests, objective_ms: float, part: slice | npt.NDArray[np.bool_]) -> Summary:
        """The summary of a part of the requests; an infinite objective counts every answer."""
        status, cold = requests.status[part], requests.cold[part]
        latency_ms = requests.latency_ms[part][status == Status.ANSWERED]
        told = cold[cold != COLD_UNKNOWN]
        p50_ms, p99_ms, p999_ms = np.percentile(latency_ms, (50, 99, 99.9)) if len(latency_ms) else (None, None, None)
        return cls(
            len(status),
            len(latency_ms),
            int((status == Status.REFUSED).sum()),
            int((status == Status.FAILED).sum()),
            float(latency_ms.mean()) if len(latency_ms) else None,
            p50_ms,
            p99_ms,
            p999_ms,
            _p99(requests.queue_ms[part]),
            _p99(requests.run_ms[part]),
            float(requests.within(objective_ms)[part].mean()) if len(status) else None,
            float(told.mean()) if len(told) else None,
        )


@dataclass(frozen=True)
class ModelSummary(Record):
    """The requests of all instances of one model."""

    model: str
    instances: Count
    summary: Summary


@dataclass(frozen=True)
class MinuteSummary(Record):
    """The requests that were due in one minute, counted from 0."""

    minute: Index
    summary: Summary


@dataclass(frozen=True)
class Failure(Record):
    """How many requests failed for one reason."""

    reason: str
    count: Count


@dataclass(frozen=True)
class Report(Document):
    """A run, from all sides. `objective_ms` is None where there was none: then goodput counts every answer.

    `achieved_per_s` is answers over the time until the last of them, at least the workload's duration. `minutes` is
    empty where the workload lasts no longer than one. `send_lag_p99_ms` is how late the generator itself sent requests,
    None where they were simulated.
    """

    FORMAT: ClassVar[str] = "deepplan.load-report"
    VERSION: ClassVar[int] = 1

    source: Literal["measured", "simulated"]
    workload: str
    objective_ms: Milliseconds | None
    duration_ms: Milliseconds
    offered_per_s: PerSecond
    achieved_per_s: PerSecond
    send_lag_p99_ms: Milliseconds | None
    total: Summary
    models: tuple[ModelSummary, ...]
    minutes: tuple[MinuteSummary, ...]
    failures: tuple[Failure, ...]

    @classmethod
    def of(cls, requests: Requests, *, objective_ms: float = math.inf, workload: str = "") -> Report:
        """The report of `requests`; `workload` says in words what they were."""
        total = Summary.of(requests, objective_ms, slice(None))
        lag_p99_ms = _p99(requests.send_lag_ms)
        return cls(
            source="measured" if requests.measured else "simulated",
            workload=workload,
            objective_ms=None if objective_ms == math.inf else objective_ms,
            duration_ms=requests.duration_ms,
            offered_per_s=len(requests) / requests.duration_ms * 1e3,
            achieved_per_s=total.answered / requests.elapsed_ms * 1e3,
            send_lag_p99_ms=None if lag_p99_ms is None else max(lag_p99_ms, 0.0),
            total=total,
            models=_by_model(requests, objective_ms),
            minutes=_by_minute(requests, objective_ms),
            failures=tuple(Failure(reason, count) for reason, count in requests.reasons.items()),
        )

    @property
    def distorted(self) -> bool:
        """Whether the generator was so late that latencies say as much about it as about the server."""
        lag_ms, p99_ms = self.send_lag_p99_ms, self.total.p99_ms
        return lag_ms is not None and p99_ms is not None and lag_ms > DISTORTED_FROM * p99_ms

    def __str__(self) -> str:
        from deepplan.client.report_text import report_text

        return report_text(self)


def _p99(values: npt.NDArray[np.float32]) -> float | None:
    """Of those that are there, that is not NaN."""
    there = values[~np.isnan(values)]
    return float(np.percentile(there, 99)) if len(there) else None


def _by_model(requests: Requests, objective_ms: float) -> tuple[ModelSummary, ...]:
    models = list(dict.fromkeys(requests.models))
    model_of = np.array([models.index(model) for model in requests.models])[requests.instances]
    return tuple(
        ModelSummary(model, list(requests.models).count(model), Summary.of(requests, objective_ms, model_of == index))
        for index, model in enumerate(models)
    )


def _by_minute(requests: Requests, objective_ms: float) -> tuple[MinuteSummary, ...]:
    minutes = math.ceil(requests.duration_ms / MINUTE_MS)
    if minutes < 2:
        return ()
    ends = np.searchsorted(requests.times_ms, MINUTE_MS * np.arange(1, minutes))
    parts = [slice(begin, end) for begin, end in zip([0, *ends], [*ends, len(requests)])]
    return tuple(MinuteSummary(minute, Summary.of(requests, objective_ms, part)) for minute, part in enumerate(parts))
