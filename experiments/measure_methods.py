"""Rows of results: one model, measured cold under each method, beside what was predicted and what is possible."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils import _pytree

from deepplan.engine.benchmark import Latencies, measure, policy_of
from deepplan.engine.devices import Devices
from deepplan.engine.floor import bytes_that_must_cross, measure_link_gbps
from deepplan.engine.precision import precision
from deepplan.engine.session import Session
from deepplan.engine.source import Source
from deepplan.planning.plan import Plan
from deepplan.planning.profile import Profile
from deepplan.planning.search import search
from deepplan.planning.simulator import simulate
from methods import METHODS


def eager_outputs(module: torch.nn.Module, source: Source, devices: Devices) -> list[torch.Tensor]:
    """What the module itself returns on the target for the source's example inputs, flattened."""
    assert source.example_inputs is not None  # experiments run modules that carry theirs
    args, kwargs = _pytree.tree_map(
        lambda leaf: leaf.to(devices.torch_target) if isinstance(leaf, torch.Tensor) else leaf, source.example_inputs
    )
    on_target = copy.deepcopy(module).to(devices.torch_target)
    with precision(source.dtype or None), torch.inference_mode():
        return _tensors(on_target(*args, **kwargs))


def measure_methods(
    source: Source, profile: Profile, devices: Devices, expected: Sequence[torch.Tensor], repeats: int
) -> Iterator[dict[str, Any]]:
    """A row for each method; with a single device only for those that need no other.

    Raises AssertionError if a method's cold or warm outputs are not the `expected` ones.
    """
    target_gbps = measure_link_gbps(devices)
    must_cross = bytes_that_must_cross(source.captured.graph)
    warm_ms = 0.0
    for method in METHODS:
        if method.parallel and len(devices.names) == 1:
            continue
        used = devices if method.parallel else Devices(devices.names[:1])
        plan = search(profile, policy_of(method.engine), devices=used.names)
        with Session(source, plan, used) as session:
            check_outputs(session, source, expected)
            latencies = measure(session, source.tensor_inputs(), warm_only=False, repeats=repeats)
        if method.engine == "demand":  # the one plan after which everything is resident
            warm_ms = latencies.warm_ms
        crossing_ms = must_cross / (len(used.names) * target_gbps * 1e6)
        yield {
            "model": source.name,
            "method": method.engine,
            "devices": list(used.names),
            **_latency_fields(latencies),
            "predicted_ms": simulate(profile, plan).total_ms,
            "warm_ms": warm_ms,
            "floor_ms": max(warm_ms, crossing_ms),
            **_plan_fields(plan),
            "equal": True,
        }


def check_outputs(
    session: Session, source: Source, expected: Sequence[torch.Tensor], tolerance: float | None = None
) -> None:
    """Calls `session` twice over poisoned memory and once warm. Raises AssertionError where an output is not right.

    `tolerance`, relative and absolute, replaces torch's own for the outputs' dtype.
    """
    assert source.example_inputs is not None
    args, kwargs = source.example_inputs
    for poison in (True, True, False):
        if poison:
            session.evict(poison=True)
        actual = _tensors(session(*args, **kwargs))
        session.synchronize()
        torch.testing.assert_close(actual, list(expected), rtol=tolerance, atol=tolerance)


def _latency_fields(latencies: Latencies) -> dict[str, Any]:
    return {
        "median_ms": statistics.median(latencies.cold_ms),
        "min_ms": min(latencies.cold_ms),
        "max_ms": max(latencies.cold_ms),
        "p99_ms": latencies.p99_ms,
        "repeats": len(latencies.cold_ms),
        "stall_ms": latencies.stall_ms,
    }


def _plan_fields(plan: Plan) -> dict[str, Any]:
    return {
        "dtype": plan.dtype,
        "batch": plan.batch_size,
        "loaded_bytes": plan.loaded_bytes,
        "direct_host_access_bytes": plan.direct_host_access_bytes,
    }


def _tensors(outputs: Any) -> list[torch.Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
