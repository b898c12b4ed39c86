"""Serving in virtual time: what latencies a machine would give a workload, without the machine.

The decisions are those of the scheduler in csrc/serving. Warm runs take what they are said to; cold starts slow each
other as long as they are under way together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt

from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan, PlanLayer
from deepplan.planning.profile import Profile
from deepplan.planning.records import Count, Milliseconds, PositiveBytes, Range, Record, coerce, refusal
from deepplan.planning.simulator import simulate
from deepplan.serving.arrivals import MINUTE_MS, Arrivals

if TYPE_CHECKING:
    from deepplan import _core

_SMALL_TABLE_BYTES = 8 << 20  # what is no larger is promoted, too

RunMs = Annotated[float, Range(1e-6, 1e12)]
# By links that others use, from 1, and by its own. Others slow it down, so it never falls; more others than there are
# rows cost what the last row says, and without rows nothing.
CrowdedMs = tuple[tuple[RunMs, ...], ...]


@dataclass(frozen=True)
class ServedModel(Record):
    """A model of which `instances` are served, and what its runs take.

    `warm_ms[b]` and `cold_ms[b][l - 1]` are for `batch_sizes[b]` (ascending, from 1) and l links. The latter become
    `crowded_ms[b][n - 1]` while other GPUs of the host load over n links (`CrowdedMs`). `device_bytes` is what it takes
    of a GPU's memory when resident.
    """

    name: str
    instances: Count
    device_bytes: PositiveBytes
    warm_ms: tuple[RunMs, ...]
    cold_ms: tuple[tuple[RunMs, ...], ...]
    batch_sizes: tuple[Count, ...] = (1,)
    crowded_ms: tuple[CrowdedMs, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = self.batch_sizes
        if not sizes or sizes[0] != 1 or any(a >= b for a, b in pairwise(sizes)):
            raise refusal("batch_sizes", list(sizes), "ascending, from 1")
        if len(self.warm_ms) != len(sizes) or len(self.cold_ms) != len(sizes):
            raise InvalidInputError(
                f"{self.name}: {len(self.warm_ms)} warm_ms and {len(self.cold_ms)} cold_ms for batch_sizes "
                f"{list(sizes)}; give one of each for each size"
            )
        for size, by_links in zip(sizes, self.cold_ms):
            if not by_links:
                raise InvalidInputError(f"{self.name}: cold_ms of batch size {size} is empty; give it for 1 link")
        if self.crowded_ms and len(self.crowded_ms) != len(sizes):
            raise InvalidInputError(
                f"{self.name}: {len(self.crowded_ms)} crowded_ms for batch_sizes {list(sizes)}; give one for each size"
            )

    def native(self) -> _core.ServedModel:
        """What the scheduler takes."""
        from deepplan import _core

        crowded_ms = self.crowded_ms or ((),) * len(self.batch_sizes)
        costs = zip(self.batch_sizes, self.warm_ms, self.cold_ms, crowded_ms)
        return _core.ServedModel(self.device_bytes, [_core.BatchCost(*cost) for cost in costs])

    @classmethod
    def of(cls, profile: Profile, plans: Sequence[Plan], *, instances: int, name: str = "") -> ServedModel:
        """A model served at batch 1 as it was profiled and planned: `plans` are for 1, 2, ... links.

        Its parameters count as resident, as they are once a plan's layers in host memory have been promoted, but for
        large tables that the plan for most links reads in place: of these only rows are gathered, and they stay there.
        Other GPUs that load slow it down as far as the profile knows of so many links.
        """
        if not plans:
            raise InvalidInputError("plans is empty; give a plan over 1 link at least")
        if profile.warm_ms is None:
            raise InvalidInputError("the profile has no warm_ms; measure it again with a deepplan that measures it")
        for links, plan in enumerate(plans, 1):
            if len(plan.links) != links or plan.batch_size != 1 or plan.model_digest != profile.model_digest:
                raise InvalidInputError(
                    f"plans[{links - 1}] is of {plan.model or 'a model'} at batch {plan.batch_size} over "
                    f"{len(plan.links)} links; give the profile's model at batch 1 over {links}"
                )
        return cls(
            name=name or profile.model,
            instances=instances,
            device_bytes=sum(layer.size_bytes for layer in plans[-1].layers if not _stays_in_host_memory(layer)),
            warm_ms=(profile.warm_ms,),
            cold_ms=(tuple(plan.predicted_ms for plan in plans),),
            crowded_ms=(_crowded_ms(profile, plans),),
        )


def _crowded_ms(profile: Profile, plans: Sequence[Plan]) -> CrowdedMs:
    rows: list[tuple[float, ...]] = [tuple(plan.predicted_ms for plan in plans)]
    for beside in range(1, len(profile.links)):
        left = plans[: len(profile.links) - beside]
        found = [simulate(profile, plan, beside).total_ms for plan in left]
        rows.append(tuple(map(max, found, rows[-1])))  # less bandwidth can make a read in place end sooner
    return tuple(rows[1:])


def _stays_in_host_memory(layer: PlanLayer) -> bool:
    """As `Program::promotable_storages` in csrc/torch/program.cpp has it, which sees how a table is used."""
    return layer.type == "Embedding" and layer.placement == "dha" and layer.size_bytes > _SMALL_TABLE_BYTES


@dataclass(frozen=True, eq=False)
class MinuteByMinute:
    """What became of the requests that came in each minute; NaN where there is nothing to take it of."""

    requests: npt.NDArray[np.int64]
    p99_ms: npt.NDArray[np.float64]
    goodput: npt.NDArray[np.float64]
    cold_rate: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ServingResult:
    """What became of each request, in the order of arrival.

    `latency_ms` is from arrival to answer, NaN where refused; `cold` whether it was answered by a cold start; `gpu`
    where it ran or would have. Rates and percentiles of nothing are NaN.
    """

    times_ms: npt.NDArray[np.float64]
    instances: npt.NDArray[np.int32]
    latency_ms: npt.NDArray[np.float64]
    cold: npt.NDArray[np.bool_]
    refused: npt.NDArray[np.bool_]
    gpu: npt.NDArray[np.int32]
    objective_ms: float
    duration_ms: float
    cold_starts: int
    evictions: int

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def p50_ms(self) -> float:
        """The median latency of what was accepted."""
        return self._percentile_ms(50)

    @property
    def p99_ms(self) -> float:
        return self._percentile_ms(99)

    @property
    def goodput(self) -> float:
        """The share of all requests that were answered within the objective."""
        return _mean(self.within(self.objective_ms))

    @property
    def cold_rate(self) -> float:
        """The share of accepted requests that were answered by a cold start."""
        return _mean(self.cold[~self.refused])

    @property
    def refused_rate(self) -> float:
        """The share of all requests that were refused."""
        return _mean(self.refused)

    def within(self, objective_ms: float) -> npt.NDArray[np.bool_]:
        """Which requests were answered within `objective_ms`; none that was refused."""
        # Sums of times round: what ends at its deadline is not late.
        within: npt.NDArray[np.bool_] = self.latency_ms <= objective_ms * (1 + 1e-9)  # False for NaN
        return within

    def per_minute(self) -> MinuteByMinute:
        minutes = math.ceil(self.duration_ms / MINUTE_MS)
        ends = np.searchsorted(self.times_ms, MINUTE_MS * np.arange(1, minutes))
        parts = [slice(a, b) for a, b in zip([0, *ends], [*ends, len(self)])]
        accepted, within = ~self.refused, self.within(self.objective_ms)
        return MinuteByMinute(
            requests=np.array([part.stop - part.start for part in parts], np.int64),
            p99_ms=np.array([_percentile(self.latency_ms[part][accepted[part]], 99) for part in parts]),
            goodput=np.array([_mean(within[part]) for part in parts]),
            cold_rate=np.array([_mean(self.cold[part][accepted[part]]) for part in parts]),
        )

    def _percentile_ms(self, percent: float) -> float:
        return _percentile(self.latency_ms[~self.refused], percent)


def simulate_serving(
    models: Sequence[ServedModel],
    arrivals: Arrivals,
    *,
    gpus: int,
    gpu_memory_bytes: int,
    objective_ms: float = math.inf,
    most_links: int = 1,
    gpus_per_host: int | None = None,
    overhead_ms: float = 0.0,
) -> ServingResult:
    """Serves `arrivals` on `gpus` alike, each with `gpu_memory_bytes` for models that are resident.

    Instances are numbered model by model: those of `models[0]` come first. A request that is predicted to be answered
    later than `objective_ms` after it came is refused; infinity refuses none. Cold starts use up to `most_links` links,
    those of their GPU's partition of so many consecutive GPUs, as far as nobody else uses them. `gpus_per_host` GPUs
    share a host's memory (None: all do), which is what `crowded_ms` of the models is about. An answer takes
    `overhead_ms` besides its run, on its way through the server, while its GPU goes on.
    Raises InvalidInputError for numbers out of range, models that do not fit on a GPU and arrivals of other instances.
    """
    from deepplan import _core  # it brings torch

    gpus, most_links = coerce(Count, gpus, "gpus"), coerce(Count, most_links, "most_links")
    gpu_memory_bytes = coerce(PositiveBytes, gpu_memory_bytes, "gpu_memory_bytes")
    gpus_per_host = coerce(Count, gpus if gpus_per_host is None else gpus_per_host, "gpus_per_host")
    overhead_ms = coerce(Milliseconds, overhead_ms, "overhead_ms")
    if objective_ms != math.inf:
        objective_ms = coerce(RunMs, objective_ms, "objective_ms")
    for model in models:
        if model.device_bytes > gpu_memory_bytes:
            raise InvalidInputError(
                f"{model.name} takes {model.device_bytes} bytes and gpu_memory_bytes is {gpu_memory_bytes}; "
                "give GPUs more memory or leave the model out"
            )
    instances = sum(model.instances for model in models)
    if arrivals.instance_count != instances:
        raise InvalidInputError(
            f"arrivals are of {arrivals.instance_count} instances and the models have {instances}; make them equal"
        )
    for name, dtype in (("times_ms", "float64"), ("instances", "int32")):
        values = getattr(arrivals, name)
        if not isinstance(values, np.ndarray) or values.dtype != dtype or values.ndim != 1:
            raise refusal(f"arrivals.{name}", values, f"a one-dimensional array of {dtype}")
    served = _core.simulate_serving(
        [model.native() for model in models],
        np.repeat(np.arange(len(models)), [model.instances for model in models]).tolist(),
        _core.SchedulerOptions(gpus, gpu_memory_bytes, objective_ms, most_links, gpus_per_host=gpus_per_host),
        arrivals.times_ms,
        arrivals.instances,
    )
    return ServingResult(
        times_ms=arrivals.times_ms,
        instances=arrivals.instances,
        latency_ms=served.latency_ms + overhead_ms,
        cold=served.cold.astype(bool),
        refused=served.refused.astype(bool),
        gpu=served.gpu,
        objective_ms=objective_ms,
        duration_ms=arrivals.duration_ms,
        cold_starts=served.counters.cold_starts,
        evictions=served.counters.evictions,
    )


def _mean(values: npt.NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _percentile(values: npt.NDArray[np.float64], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else math.nan
