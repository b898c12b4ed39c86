"""Figure 14's trace served by one method, in virtual time or on real devices: what became of requests, by minute."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deepplan.client import InProcessTransport, Requests, Summary, make_targets, run, send_workload, simulated
from deepplan.serving.arrivals import MINUTE_MS, Arrivals
from deepplan.serving.azure_trace import azure
from deepplan.serving.local_engine import LocalEngine
from deepplan.serving.simulation import simulate_serving
from methods import Method
from serving_measuring import MAX_CONCURRENT, deployment_of
from serving_runs import Run, links_of
from serving_sweep import served_model


def arrivals_of(options: argparse.Namespace, instances: int, setting: Run) -> Arrivals:
    """The same for every method. A shorter duration has the beginning of the same arrivals."""
    whole = azure(
        options.trace,
        total_rate_per_s=setting.rate_per_s,
        instance_count=instances,
        first_minute=options.first_minute,
        minutes=options.minutes,
    )
    if options.duration is None:
        return whole
    duration_ms = min(1e3 * options.duration, whole.duration_ms)
    count = int(np.searchsorted(whole.times_ms, duration_ms))
    return Arrivals(whole.times_ms[:count], whole.instances[:count], instances, duration_ms)


def simulate_method(machine: str, method: Method, mix: Mapping[str, int], setting: Run, arrivals: Arrivals) -> Requests:
    """In virtual time, by what `machine`'s profiles promise. Nothing is refused, as in the paper."""
    served = [
        served_model(machine, replace(setting, model=model, instances=instances), method)
        for model, instances in mix.items()
    ]
    result = simulate_serving(
        served,
        arrivals,
        gpus=setting.gpus,
        gpu_memory_bytes=setting.gpu_memory_bytes,
        most_links=links_of(method),
    )
    return simulated(result, _model_of_each(mix))


def measure_method(
    devices: Sequence[str], method: Method, mix: Mapping[str, int], setting: Run, arrivals: Arrivals
) -> Requests:
    """On real devices, by an engine of its own, from a client in the same process."""

    async def measure() -> Requests:
        engine = LocalEngine(deployment_of(devices, method, mix, setting))
        try:
            await engine.start(lambda done, share: _note(f"{method.title}: {done}"))
            transport = InProcessTransport(engine)
            targets = await make_targets(transport, list(zip(engine.models, _model_of_each(mix), strict=True)))
            requests = await send_workload(transport, arrivals, targets, max_concurrent=MAX_CONCURRENT)
        finally:
            await engine.close()
        _note(f"{method.title}: sent late by {np.nanpercentile(requests.send_lag_ms, 99):.2f} ms, 99th percentile")
        return requests

    return run(measure())


def rows_of(requests: Requests, method: Method, objective_ms: float) -> list[dict[str, Any]]:
    """A row for each minute; None where no request came, or none was answered."""
    minutes = math.ceil(requests.duration_ms / MINUTE_MS)
    ends = np.searchsorted(requests.times_ms, MINUTE_MS * np.arange(1, minutes))
    rows = []
    for minute, (begin, end) in enumerate(zip([0, *ends], [*ends, len(requests)])):
        found = Summary.of(requests, objective_ms, slice(begin, end))
        lasts_s = min(MINUTE_MS, requests.duration_ms - minute * MINUTE_MS) / 1e3  # the last may be cut short
        rows.append(
            {
                "minute": minute,
                "method": method.engine,
                "title": method.title,
                "links": links_of(method),
                "simulated": not requests.measured,
                "requests": found.requests,
                "offered_per_s": found.requests / lasts_s,
                "p99_ms": found.p99_ms,
                "goodput": found.goodput,
                "cold_rate": found.cold_rate,
                "failed": found.failed,
            }
        )
    return rows


def _model_of_each(mix: Mapping[str, int]) -> list[str]:
    """The model that each instance is one of, in the order in which arrivals and engines count them."""
    return [model for model, instances in mix.items() for _ in range(instances)]


def _note(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)
