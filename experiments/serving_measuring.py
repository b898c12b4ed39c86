"""Models served from host memory on real devices, by method, with an open-loop client in the same process."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from deepplan.client import InProcessTransport, Summary, Target, make_targets, run, send_workload
from deepplan.serving.arrivals import Arrivals
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.local_engine import LocalEngine
from methods import Method
from serving_runs import WARM_UP_S, Run, at_half_load, links_of, row_of
from serving_sweep import predict

MAX_CONCURRENT = 10_000  # requests under way: what is overwhelmed is to show in latencies, not in refusals
_OVERHEADS, _IDLE_MS = 30, 10.0  # requests of which the overhead is taken, and a pause between two
_GOODPUT_OF_INTEREST = 0.9  # higher rates are not tried by a method that is below


def measure_runs(
    devices: Sequence[str],
    methods: Sequence[Method],
    runs: Sequence[Run],
    duration_s: float,
    done: Callable[[dict[str, Any]], None],
) -> None:
    """Serves every run by each method; `done` is given each row as it is there."""

    async def measure_all() -> None:
        for method in methods:
            for _, alike in groupby(runs, lambda run: (run.model, run.dtype, run.coding)):
                async for row in _measure_method(devices, method, list(alike), duration_s):
                    done(row)

    run(measure_all())


async def _measure_method(
    devices: Sequence[str], method: Method, runs: Sequence[Run], duration_s: float
) -> AsyncIterator[dict[str, Any]]:
    """Runs of one model: its instances are registered once, and each run uses as many as it needs."""
    most = max(run.instances for run in runs)
    engine = LocalEngine(deployment_of(devices, method, {runs[0].model: most}, runs[0]))
    try:
        await engine.start(lambda done, share: print(f"  {method.title}: {done}", file=sys.stderr, flush=True))
        overwhelmed = False
        for planned in runs:
            if planned.sweep == "rate" and overwhelmed:
                continue
            planned = at_half_load(replace(planned, gpus=len(devices)), engine.hosted[0].costs.warm_ms[0])
            row = await _measured_row(engine, method, planned, duration_s)
            overwhelmed = planned.sweep == "rate" and row["goodput"] < _GOODPUT_OF_INTEREST
            yield row
    finally:
        await engine.close()


def deployment_of(devices: Sequence[str], method: Method, mix: Mapping[str, int], setting: Run) -> Deployment:
    """So many instances of each model, served by `method` with the dtype and memory of `setting`."""
    return Deployment(
        models=tuple(
            ServedSource(model, instances=instances, dtype=setting.dtype)  # type: ignore[arg-type]
            for model, instances in mix.items()
        ),
        devices=tuple(devices),
        gpu_memory_bytes=setting.gpu_memory_bytes,
        engine=method.engine,  # type: ignore[arg-type]
        pt=links_of(method),
        coding=setting.coding,
    )


async def _overhead_ms(engine: LocalEngine, target: Target, warm_ms: float) -> float:
    """What an answer takes besides a warm run of `warm_ms`, when nothing else is to be done: one after the other."""
    gap_ms = 2 * warm_ms + _IDLE_MS
    times_ms = gap_ms * np.arange(_OVERHEADS + 1)
    one = Arrivals(times_ms, np.zeros(len(times_ms), np.int32), 1, float(times_ms[-1]) + gap_ms)
    requests = await send_workload(InProcessTransport(engine), one, [target])
    return max(0.0, float(np.median(requests.latency_ms[1:])) - warm_ms)  # the first is cold


async def _measured_row(engine: LocalEngine, method: Method, planned: Run, duration_s: float) -> dict[str, Any]:
    await engine.change(gpu_memory_bytes=planned.gpu_memory_bytes, objective_ms=None)
    instances = [(name, planned.model) for name in engine.models][: planned.instances]
    targets = await make_targets(InProcessTransport(engine), instances)
    if planned.sweep == "resident":
        for target in targets:
            await engine.infer(target.name, target.inputs)
    costs = engine.hosted[0].costs
    overhead_ms = await _overhead_ms(engine, targets[0], costs.warm_ms[0])
    requests = await send_workload(
        InProcessTransport(engine), planned.arrivals(duration_s), targets, max_concurrent=MAX_CONCURRENT
    )
    counts = requests.times_ms >= 1e3 * WARM_UP_S
    total = Summary.of(requests, planned.objective_ms, counts)
    row = row_of(
        planned,
        method,
        costs,
        simulated=False,
        requests=total.requests,
        p50_ms=total.p50_ms,
        p99_ms=total.p99_ms,
        goodput=total.goodput,
        cold_rate=total.cold_rate,
        failed=total.failed,
        send_lag_p99_ms=float(np.percentile(requests.send_lag_ms[counts], 99)),
        run_p50_ms=float(np.nanmedian(requests.run_ms[counts])),
        run_p99_ms=total.run_p99_ms,
        overhead_ms=overhead_ms,
        resident_bytes=costs.device_bytes,
        gpu_bytes=engine.gpu_bytes,
        predicted=predict(planned, method, costs, engine.gpu_bytes, duration_s, overhead_ms),
    )
    print(
        "{sweep:9} {title:10} {dtype} {instances:3} instances {rate_per_s:4g}/s: p50 {p50_ms:.2f} p99 {p99_ms:.2f} ms, "
        "goodput {goodput:.4f}, cold {cold_rate:.3f}, lag p99 {send_lag_p99_ms:.2f}, predicted p99 "
        "{predicted[p99_ms]:.2f} goodput {predicted[goodput]:.4f} cold {predicted[cold_rate]:.3f}".format(**row),
        flush=True,
    )
    return row
