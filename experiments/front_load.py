"""Load on a one-layer model, of as many processes as it takes, over HTTP and in the engine's own process."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from deepplan.client import InProcessTransport, Summary, make_targets, send_workload
from deepplan.export.capture import capture
from deepplan.export.folder import write_folder
from deepplan.serving.arrivals import poisson
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.local_engine import LocalEngine

MODEL = "one"
_COLUMNS, _OUTPUTS = 1024, 64  # a body of 4 KiB
_WARM_UP_S = 1.0


def write_model(folder: Path) -> Path:
    """The model as an exported folder."""
    module = torch.nn.Linear(_COLUMNS, _OUTPUTS).eval().requires_grad_(False)
    captured = capture(module, (torch.zeros(1, _COLUMNS),), {})
    write_folder(folder / MODEL, captured.graph, captured.storages, name=MODEL, dtype="fp32")
    return folder / MODEL


async def over_http(url: str, rate_per_s: float, duration_s: float, clients: int) -> dict[str, Any]:
    """What so many load generators see that share the rate, each a process."""
    shares = [_client(url, rate_per_s / clients, duration_s, seed) for seed in range(clients)]
    reports = await asyncio.gather(*shares)
    totals = [report["total"] for report in reports]
    return {
        "offered_per_s": sum(report["offered_per_s"] for report in reports),
        "achieved_per_s": sum(report["achieved_per_s"] for report in reports),
        "p50_ms": statistics.fmean(total["p50_ms"] for total in totals),
        "p99_ms": max(total["p99_ms"] for total in totals),
        "not_answered": sum(total["refused"] + total["failed"] for total in totals),
        "send_lag_p99_ms": max(report["send_lag_p99_ms"] for report in reports),
    }


async def _client(url: str, rate_per_s: float, duration_s: float, seed: int) -> dict[str, Any]:
    command = [
        *(sys.executable, "-m", "deepplan.cli", "client", f"--url={url}", f"--model={MODEL}", f"--rate={rate_per_s}"),
        *(f"--duration={duration_s}s", f"--seed={seed}", "--max-concurrent=10000", "--json"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"a client ended with {process.returncode}: {err.decode()[-500:]}")
    report: dict[str, Any] = json.loads(out)
    return report


async def in_process(source: Path, device: str, rate_per_s: float, duration_s: float, folder: Path) -> dict[str, Any]:
    """The same without a front: engine and load generator in this process."""
    deployment = Deployment((ServedSource(str(source)),), devices=(device,), gpu_memory_bytes=64 << 20)
    engine = LocalEngine(deployment, folder)
    try:
        await engine.start()
        transport = InProcessTransport(engine)
        targets = await make_targets(transport, [(MODEL, MODEL)])
        arrivals = poisson(rate_per_s, instance_count=1, duration_s=_WARM_UP_S + duration_s)
        requests = await send_workload(transport, arrivals, targets, max_concurrent=10_000)
    finally:
        await engine.close()
    total = Summary.of(requests, float("inf"), requests.times_ms >= 1e3 * _WARM_UP_S)
    return {"p50_ms": total.p50_ms, "p99_ms": total.p99_ms}
