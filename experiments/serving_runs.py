"""What the serving figures run: one workload for each point, by each method, in virtual time or on real devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepplan.serving.arrivals import Arrivals, poisson
from methods import METHODS, Method

GIB = 1 << 30
BUSY = 0.8
WARM_UP_S = 2.0  # at first nothing is resident
LINKS = 2  # of a parallel method: two partitions of two GPUs
SERVED = tuple(method for method in METHODS if method.title in ("PipeSwitch", "DHA", "PT+DHA"))


@dataclass(frozen=True)
class Run:
    """One point: Poisson arrivals at `rate_per_s` over `instances` of `model`, drawn uniformly.

    `sweep` says what is swept with it, "instances" or "rate"; "half" and "resident" are single points, at half of the
    rate that would keep the GPUs `BUSY` with resident models: "resident" are so few instances that all stay there.
    Nothing is refused, as in the paper: what is answered after `objective_ms` counts against goodput. With `coding`,
    plans may have weights cross coded.
    """

    sweep: str
    model: str
    instances: int
    rate_per_s: float
    gpu_memory_bytes: int
    objective_ms: float
    dtype: str = "fp32"
    coding: bool = False
    gpus: int = 4

    def arrivals(self, duration_s: float) -> Arrivals:
        """The same for every method: those of `WARM_UP_S` at first, then those that count."""
        return poisson(self.rate_per_s, instance_count=self.instances, duration_s=WARM_UP_S + duration_s)


def at_half_load(run: Run, warm_ms: float) -> Run:
    """A run that has no rate of its own is at half of what keeps its GPUs busy when nothing has to be brought in."""
    return run if run.rate_per_s > 0 else replace(run, rate_per_s=round(BUSY * run.gpus / (warm_ms / 1e3) / 2))


def links_of(method: Method) -> int:
    """How many GPUs' links a cold start may use."""
    return LINKS if method.parallel else 1


def sweep_instances(counts: Sequence[int], setting: Run) -> list[Run]:
    """`setting` with each number of instances."""
    return [replace(setting, sweep="instances", instances=count) for count in counts]


def sweep_rates(rates_per_s: Sequence[float], setting: Run) -> list[Run]:
    """`setting` at each rate."""
    return [replace(setting, sweep="rate", rate_per_s=rate) for rate in rates_per_s]


def row_of(run: Run, method: Method, costs: Any, *, simulated: bool, **found: Any) -> dict[str, Any]:
    """A row of results. `costs` is what the scheduler went by, a `ServedModel`; `found` is what became of requests."""
    return {
        "sweep": run.sweep,
        "model": run.model,
        "dtype": run.dtype,
        "coded": run.coding and method.engine == "deepplan",
        "method": method.engine,
        "title": method.title,
        "links": links_of(method),
        "gpus": run.gpus,
        "gpu_memory_bytes": run.gpu_memory_bytes,
        "objective_ms": run.objective_ms,
        "instances": run.instances,
        "rate_per_s": run.rate_per_s,
        "warm_ms": costs.warm_ms[0],
        "cold_ms": list(costs.cold_ms[0]),
        "crowded_ms": [list(by_links) for by_links in costs.crowded_ms[0]] if costs.crowded_ms else [],
        "simulated": simulated,
        **found,
    }


def same_series(row: Mapping[str, Any], run: Run, methods: Sequence[Method], simulated: bool) -> bool:
    """Whether `row` is of the same sweep, so that a new run of it takes its place."""
    series = row["sweep"], row["model"], row["dtype"], row["simulated"]
    return series == (run.sweep, run.model, run.dtype, simulated) and row["title"] in [each.title for each in methods]
