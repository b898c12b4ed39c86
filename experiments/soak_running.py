"""The cold starts of a soak: models are loaded under one budget, called in random order, and their answers compared."""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepplan import _core, models
from deepplan.cli.progress import progress
from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.engine.session import Session
from deepplan.engine.source import Source, resolve
from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.search import search
from known_profile import known_profile
from measure_methods import check_outputs, eager_outputs
from soak_summary import ColdStart, Soaked

DTYPE = "fp32"
SAMPLES = 100  # of memory, evenly over the cold starts
# Between a graph and single operators, and from one address to another, cuBLAS may choose another kernel.
RELATIVE, ABSOLUTE = 1e-4, 1e-4

Build = Callable[[str], torch.nn.Module]


@dataclass(frozen=True)
class _Planned:
    source: Source
    plan: Plan
    answer: list[torch.Tensor]  # the eager model's, on the target

    @property
    def weight_bytes(self) -> int:
        return sum(storage.size_bytes for storage in self.source.captured.graph.storages)


@dataclass(frozen=True)
class _Loaded:
    name: str
    session: Session
    inputs: list[torch.Tensor]
    answer: list[torch.Tensor]


def soak(options: argparse.Namespace, devices: Devices, build: Build | None = None) -> Soaked:
    """Plans and loads all models, calls each twice, then counts. The target's budget is none again afterwards."""
    planned = []
    for name in dict.fromkeys(options.models):
        with progress(f"planning {name}"):
            planned.append(_plan((build or models.build)(name), devices, options))
        _release_unused(devices)
    planned.sort(key=lambda each: each.weight_bytes, reverse=True)  # whatever follows fits where a larger one lies
    weight_bytes = sum(each.weight_bytes for each in planned)
    budget_bytes = int(options.budget_share * weight_bytes)
    largest_bytes = planned[0].weight_bytes
    if budget_bytes < largest_bytes:
        raise InvalidInputError(
            f"{options.budget_share:g} of {weight_bytes} bytes do not hold {planned[0].source.name}, which takes "
            f"{largest_bytes}; raise --budget-share, or name more models"
        )
    target = machine.target(devices.target)
    target.set_budget(budget_bytes)
    loaded: list[_Loaded] = []
    try:
        while planned:
            loaded.append(_load(planned.pop(0), devices))
        begun = time.perf_counter()
        with progress(f"{options.cold_starts} cold starts") as report:
            starts, memory = _call_all(loaded, devices, options, report)
        return Soaked(
            starts=starts,
            memory=memory,
            captured=frozenset(model.name for model in loaded if model.session.launch == "graph"),
            weight_bytes=weight_bytes,
            budget_bytes=budget_bytes,
            seconds=time.perf_counter() - begun,
        )
    finally:
        for model in loaded:
            model.session.close()
        target.set_budget(0)


def _plan(module: torch.nn.Module, devices: Devices, options: argparse.Namespace) -> _Planned:
    source = resolve(module, dtype=DTYPE, keep=False)
    answer = eager_outputs(module, source, devices)
    profile = known_profile(source, devices, options.profiles, options.profile_budget)
    return _Planned(source, search(profile, "optimal", devices=devices.names), answer)


def _release_unused(devices: Devices) -> None:
    gc.collect()
    machine.target(devices.target).trim()
    _core.trim_arena()
    if not devices.is_host:
        torch.cuda.empty_cache()


def _load(planned: _Planned, devices: Devices) -> _Loaded:
    source = planned.source
    session = Session(source, planned.plan, devices, release=True)
    inputs = [tensor.to(devices.torch_target) for tensor in source.tensor_inputs()]
    check_outputs(session, source, planned.answer, RELATIVE)
    return _Loaded(source.name, session, inputs, planned.answer)


def _call_all(
    loaded: Sequence[_Loaded], devices: Devices, options: argparse.Namespace, report: Callable[[float], None]
) -> tuple[list[ColdStart], list[dict[str, Any]]]:
    """The cold starts, and samples of memory from before the first to after the last."""
    for _ in range(2):  # what only first calls take is not counted
        for model in loaded:
            _call(model)
    order = random.Random(options.seed)
    starts: list[ColdStart] = []
    memory = [_memory(devices, 0)]
    interval = max(1, options.cold_starts // SAMPLES)
    begun = time.perf_counter()
    while len(starts) < options.cold_starts:
        starts.append(_call(order.choice(loaded)))
        if len(starts) % interval == 0:
            memory.append(_memory(devices, len(starts)))
            report(len(starts) / options.cold_starts)
        if options.time_limit is not None and time.perf_counter() - begun > options.time_limit:
            break
    if memory[-1]["cold_starts"] != len(starts):
        memory.append(_memory(devices, len(starts)))
    return starts, memory


def _call(model: _Loaded) -> ColdStart:
    """One cold start, over poisoned memory where it is still the model's own."""
    was_there = model.session.evict(poison=True)
    model.session.synchronize()
    begun = time.perf_counter()
    answer = model.session.run_flat(model.inputs)
    model.session.synchronize()
    latency_ms = (time.perf_counter() - begun) * 1e3
    tensors = [tensor for tensor in answer if isinstance(tensor, torch.Tensor)]
    same_bits = len(tensors) == len(model.answer) and all(map(torch.equal, tensors, model.answer))
    return ColdStart(
        model=model.name,
        latency_ms=latency_ms,
        driven_out=not was_there,
        launch=model.session.last_launch,
        right=same_bits or _close(tensors, model.answer),
        same_bits=same_bits,
    )


def _close(answer: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> bool:
    return len(answer) == len(expected) and all(
        one.shape == other.shape and torch.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE)
        for one, other in zip(answer, expected)
    )


def _memory(devices: Devices, cold_starts: int) -> dict[str, Any]:
    """What is free on each device, and what pool, torch, arena and process have taken."""
    target = machine.target(devices.target)
    machine.synchronize(devices)
    return {
        "cold_starts": cold_starts,
        "free_bytes": [_core.memory_info(name)[0] for name in devices.names],
        "reserved_bytes": target.reserved_bytes,
        "used_bytes": target.used_bytes,
        "charged_bytes": target.charged_bytes,
        "allocations": target.allocations,
        "torch_reserved_bytes": 0 if devices.is_host else torch.cuda.memory_reserved(devices.target),
        "pinned_bytes": _core.arena_stats().reserved_bytes,
        "process_bytes": _process_bytes(),
    }


def _process_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:")), 0)
