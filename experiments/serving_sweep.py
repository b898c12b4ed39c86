"""Models served from host memory in virtual time, by method: what a machine's measured profiles promise."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deepplan.engine.benchmark import policy_of
from deepplan.errors import UnknownNameError
from deepplan.planning.refit import refit
from deepplan.planning.search import search
from deepplan.profiles import shipped_profile
from deepplan.serving.simulation import ServedModel, simulate_serving
from methods import Method
from serving_runs import WARM_UP_S, Run, at_half_load, links_of, row_of


def simulate_runs(
    machine: str, methods: Sequence[Method], runs: Sequence[Run], duration_s: float
) -> Iterator[dict[str, Any]]:
    """A row for each method and run; runs of which `machine` has no profile are left out, and said to be."""
    for method in methods:
        for run in runs:
            try:
                served = served_model(machine, run, method)
            except UnknownNameError as error:
                print(f"{run.model} {run.dtype} is not simulated: {error}", file=sys.stderr)
                continue
            yield simulated_row(at_half_load(run, served.warm_ms[0]), method, served, duration_s)


def served_model(machine: str, run: Run, method: Method) -> ServedModel:
    """The zoo model of `run` as `method` provisions it."""
    profile = shipped_profile(machine, run.model, dtype=run.dtype)
    links = links_of(method)
    plan = search(profile, policy_of(method.engine), devices=range(links), coding=run.coding)
    fewer = [refit(profile, plan, count) for count in range(1, links)]
    return ServedModel.of(profile, [*fewer, plan], instances=run.instances)


def simulated_row(run: Run, method: Method, served: ServedModel, duration_s: float) -> dict[str, Any]:
    """One run in virtual time."""
    found = predict(run, method, served, run.gpu_memory_bytes, duration_s)
    return row_of(run, method, served, simulated=True, **found)


def predict(
    run: Run, method: Method, served: ServedModel, gpu_bytes: int, duration_s: float, overhead_ms: float = 0.0
) -> dict[str, Any]:
    """What becomes of the requests of `run` where runs take what `served` says, answers `overhead_ms` besides, and
    models find `gpu_bytes` a GPU."""
    result = simulate_serving(
        [replace(served, instances=run.instances)],
        run.arrivals(duration_s),
        gpus=run.gpus,
        gpu_memory_bytes=gpu_bytes,
        most_links=links_of(method),
        overhead_ms=overhead_ms,
    )
    counts = result.times_ms >= 1e3 * WARM_UP_S
    latency_ms = result.latency_ms[counts]
    p50_ms, p99_ms = np.percentile(latency_ms, (50, 99))
    return {
        "requests": len(latency_ms),
        "p50_ms": float(p50_ms),
        "p99_ms": float(p99_ms),
        "goodput": float(result.within(run.objective_ms)[counts].mean()),
        "cold_rate": float(result.cold[counts].mean()),
    }
