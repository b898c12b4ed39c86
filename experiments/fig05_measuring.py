"""One layer at a time: executed from device memory, copied there, and read in place over an idle and a busy link."""

from __future__ import annotations

from typing import Any

import torch

from deepplan.engine.devices import Devices
from deepplan.engine.profiling_plans import all_in_place, one_group
from deepplan.engine.sampling import Sample, Sampler
from deepplan.engine.source import resolve
from layer_kinds import Kind
from runtime_session import open_session

_BUDGET_S = 2.0  # for each of the three kinds of run


def measure_layer(kind: Kind, devices: Devices) -> dict[str, Any]:
    """A row of results, times in ms; medians of up to 20 cold runs through the runtime that serves models."""
    torch.manual_seed(0)
    module, inputs = nn_of(kind), kind.make_input()
    if kind.channels_last:
        module, inputs = module.to(memory_format=torch.channels_last), inputs.to(memory_format=torch.channels_last)
    source = resolve(module, inputs, dtype=kind.dtype, keep=False)
    graph = source.captured.graph
    loaded = one_group(graph)
    session = open_session(source, devices, loaded)
    on_target = [tensor.to(devices.torch_target) for tensor in source.tensor_inputs()]
    sampler = Sampler(session, on_target, kind.dtype, devices.torch_target, _BUDGET_S)
    from_device = sampler.sample(loaded, _silent)
    idle = sampler.sample(all_in_place(graph), _silent)
    busy = sampler.sample(all_in_place(graph), _silent, busy_link=True)
    departed_ms, arrived_ms = from_device.groups_ms[0]
    return {
        "layer": kind.title,
        "family": kind.family,
        "dtype": kind.dtype,
        "size_bytes": graph.size_bytes,
        "execute_ms": _total_ms(from_device),
        "load_ms": arrived_ms - departed_ms,
        "in_place_ms": _total_ms(idle),
        "in_place_busy_link_ms": _total_ms(busy),
    }


def nn_of(kind: Kind) -> torch.nn.Module:
    """The layer inside a module, as layers of models are."""
    return torch.nn.Sequential(kind.make()).eval().requires_grad_(False)


def _total_ms(sample: Sample) -> float:
    return sum(sample.layers_ms)


def _silent(share: float) -> None:
    """A single layer takes no time worth reporting."""
