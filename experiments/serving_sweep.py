"""Models served from host memory in virtual time, by method: what a machine's measured profiles promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from deepplan.engine.benchmark import policy_of
from deepplan.planning.search import search
from deepplan.profiles import shipped_profile
from deepplan.serving.arrivals import Arrivals, poisson
from deepplan.serving.simulation import ServedModel, simulate_serving
from methods import METHODS, Method

SERVED = tuple(method for method in METHODS if method.title in ("PipeSwitch", "DHA", "PT+DHA"))


def served_model(machine: str, model: str, method: Method, links: int = 2) -> ServedModel:
    """A zoo model in fp32 as `method` provisions it: over up to `links` links if it is parallel."""
    profile = shipped_profile(machine, model)
    counts = range(1, (links if method.parallel else 1) + 1)
    plans = [search(profile, policy_of(method.engine), devices=range(count), coding=False) for count in counts]
    return ServedModel.of(profile, plans, instances=1)


def by_instances(
    machine: str, model: str, counts: Sequence[int], *, rate_per_s: float, duration_s: float, **setting: Any
) -> Iterator[dict[str, Any]]:
    """A row for each method and number of instances, at one rate. `setting` as `_row` takes it."""
    for method in SERVED:
        served = served_model(machine, model, method)
        for count in counts:
            arrivals = poisson(rate_per_s, instance_count=count, duration_s=duration_s)
            yield _row("instances", method, replace(served, instances=count), arrivals, rate_per_s, **setting)


def by_rate(
    machine: str, model: str, rates_per_s: Sequence[float], *, instances: int, duration_s: float, **setting: Any
) -> Iterator[dict[str, Any]]:
    """A row for each method and rate, with one number of instances. `setting` as `_row` takes it."""
    for method in SERVED:
        served = replace(served_model(machine, model, method), instances=instances)
        for rate_per_s in rates_per_s:
            arrivals = poisson(rate_per_s, instance_count=instances, duration_s=duration_s)
            yield _row("rate", method, served, arrivals, rate_per_s, **setting)


def _row(
    sweep: str,
    method: Method,
    model: ServedModel,
    arrivals: Arrivals,
    rate_per_s: float,
    *,
    gpus: int,
    gpu_memory_bytes: int,
    objective_ms: float,
) -> dict[str, Any]:
    """One run. Nothing is refused, as in the paper: what is answered too late counts against goodput."""
    links = len(model.cold_ms[0])
    result = simulate_serving([model], arrivals, gpus=gpus, gpu_memory_bytes=gpu_memory_bytes, most_links=links)
    return {
        "sweep": sweep,
        "model": model.name,
        "method": method.engine,
        "title": method.title,
        "links": links,
        "gpus": gpus,
        "gpu_memory_bytes": gpu_memory_bytes,
        "objective_ms": objective_ms,
        "instances": model.instances,
        "rate_per_s": rate_per_s,
        "requests": len(result),
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "goodput": float(result.within(objective_ms).mean()),
        "cold_rate": result.cold_rate,
        "warm_ms": model.warm_ms[0],
        "cold_ms": list(model.cold_ms[0]),
    }
