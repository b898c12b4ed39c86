"""What became of each request of a workload."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepplan.client.transport import Status
from deepplan.serving.simulation import ServingResult

COLD_UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Requests:
    """Arrays with one element a request, in the order of arrival.

    `latency_ms` is from when the request was due to its answer, `send_lag_ms` from then to when it was really sent,
    `queue_ms` and `run_ms` what the server says; all are NaN where there was no such thing. `status` holds `Status`,
    `cold` 1, 0 or COLD_UNKNOWN, `instances` indices into `models`, the model that each instance is one of. `reasons`
    counts why requests failed.
    """

    times_ms: npt.NDArray[np.float64]
    instances: npt.NDArray[np.int32]
    latency_ms: npt.NDArray[np.float64]
    send_lag_ms: npt.NDArray[np.float32]
    queue_ms: npt.NDArray[np.float32]
    run_ms: npt.NDArray[np.float32]
    status: npt.NDArray[np.int8]
    cold: npt.NDArray[np.int8]
    models: Sequence[str]
    duration_ms: float
    reasons: Mapping[str, int]
    measured: bool  # else simulated

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def elapsed_ms(self) -> float:
        """Until the workload had ended and everything was answered."""
        ends_ms = (self.times_ms + self.latency_ms)[self.status == Status.ANSWERED]
        return max(self.duration_ms, float(ends_ms.max(initial=0.0)))

    def within(self, objective_ms: float) -> npt.NDArray[np.bool_]:
        """Which requests were answered within `objective_ms`; an infinite one counts every answer."""
        # As for simulated requests: what ends at its deadline is not late, however sums of times round.
        within: npt.NDArray[np.bool_] = self.latency_ms <= objective_ms * (1 + 1e-9)  # False for NaN
        return within


def simulated(result: ServingResult, models: Sequence[str]) -> Requests:
    """A simulated run, as if it had been measured; `models` names each instance's model."""
    refused, untold = result.refused, np.full(len(result), math.nan, np.float32)
    return Requests(
        times_ms=result.times_ms,
        instances=result.instances,
        latency_ms=result.latency_ms,
        send_lag_ms=untold,
        queue_ms=untold,
        run_ms=untold,
        status=np.where(refused, Status.REFUSED, Status.ANSWERED).astype(np.int8),
        cold=np.where(refused, COLD_UNKNOWN, result.cold).astype(np.int8),
        models=models,
        duration_ms=result.duration_ms,
        reasons={},
        measured=False,
    )
