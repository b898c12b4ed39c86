"""One method measured on one model: what `deepplan benchmark` prints and writes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from deepplan.cli.planning import Job, fitting_profile, new_plan, open_job, saved_plan, saved_profile
from deepplan.cli.progress import progress
from deepplan.engine.benchmark import Latencies, measure
from deepplan.engine.session import Session
from deepplan.planning.plan import Plan

_BUDGET_MS, _MIN_REPEATS, _MAX_REPEATS = 5_000, 5, 100


@dataclass(frozen=True)
class Measurement:
    """Latencies of one engine under one plan. `predicted_ms` is None where no profile was at hand to tell.

    `host_link_gbps` is what the links of the host devices cost, None on a GPU.
    """

    engine: str
    plan: Plan
    devices: tuple[str, ...]
    latencies: Latencies
    predicted_ms: float | None
    host_link_gbps: float | None

    def to_json(self) -> dict[str, Any]:
        """One row of results, with the names that the figures use."""
        latencies, plan = self.latencies, self.plan
        return {
            "model": plan.model,
            "method": self.engine,
            "policy": plan.policy,
            "devices": list(self.devices),
            "machine": plan.machine,
            "host_link_gbps": self.host_link_gbps,
            "torch": plan.torch,
            "dtype": plan.dtype,
            "batch": plan.batch_size,
            "repeats": len(latencies.cold_ms),
            "mean_ms": latencies.mean_ms,
            "median_ms": latencies.median_ms,
            "min_ms": min(latencies.cold_ms),
            "max_ms": max(latencies.cold_ms),
            "p99_ms": latencies.p99_ms,
            "stall_ms": latencies.stall_ms,
            "warm_ms": latencies.warm_ms,
            "predicted_ms": self.predicted_ms,
            "loaded_bytes": plan.loaded_bytes,
            "crossing_bytes": plan.crossing_bytes,
            "coded_plain_bytes": plan.coded_plain_bytes,
            "coded_bytes": plan.coded_bytes,
            "direct_host_access_bytes": plan.direct_host_access_bytes,
            "groups": len(plan.routes),
            "latencies_ms": list(latencies.cold_ms),
        }


def measure_method(arguments: argparse.Namespace, policy: str) -> Measurement:
    """Plans the model by `policy` unless that was done before, loads it and measures the engine that was asked for."""
    job = open_job(arguments)
    plan = saved_plan(job, policy, arguments.coding)
    if plan is None:
        plan = new_plan(job, fitting_profile(job), policy, arguments.coding)
    in_memory = arguments.engine == "in_memory"
    inputs = job.source.tensor_inputs()
    with Session(job.source, plan, job.devices, release=True) as session:
        with progress(f"measuring {job.source.name} with the engine {arguments.engine}") as report:
            repeats = arguments.repeat or default_repeats(plan.predicted_ms)
            latencies = measure(session, inputs, warm_only=in_memory, repeats=repeats, report=report)
        if arguments.trace is not None:
            session.trace(arguments.trace, cold=not in_memory)
    return Measurement(
        engine=arguments.engine,
        plan=plan,
        devices=job.devices.names,
        latencies=latencies,
        predicted_ms=_warm_ms(job) if in_memory else plan.predicted_ms,
        host_link_gbps=job.link_gbps if job.devices.is_host else None,
    )


def default_repeats(predicted_ms: float) -> int:
    """As many runs as take some seconds."""
    return int(max(_MIN_REPEATS, min(_MAX_REPEATS, _BUDGET_MS / max(predicted_ms, 1e-3))))


def _warm_ms(job: Job) -> float | None:
    profile = saved_profile(job)
    return None if profile is None else profile.warm_ms
