"""How fast a model is where every weight lies in device memory already: what no cold start can be faster than.

A module is captured as one CUDA graph, so that nothing but the device's own work is counted: launched operator by
operator, a small model is bound by the processor instead.
"""

from __future__ import annotations

import copy
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils import _pytree

from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.engine.mask_decisions import MaskDecisions, mask_decisions
from deepplan.engine.precision import precision
from deepplan.engine.source import Source
from deepplan.errors import InvalidInputError
from deepplan.models import materialise

_WARM_UPS = 3
_REPEATS = 50
_HOST_BUDGET_MS, _HOST_MIN_REPEATS = 2_000, 5

How = Literal["graph replay", "eager", "warm"]


@dataclass(frozen=True)
class Resident:
    """The median latency of a resident model in ms, from the call to the output being ready, by the host's clock.

    `how` it was measured: by replaying the module's graph, by calling the module where it cannot be captured (and on
    host devices, which have no graphs), or by warm calls of a session where there is no module. `outputs` are the
    module's own, flattened, and `replayed_outputs` those of the graph, None without one; both on the target.
    """

    latency_ms: float
    how: How
    outputs: tuple[torch.Tensor, ...] = ()
    replayed_outputs: tuple[torch.Tensor, ...] | None = None

    @property
    def replayed(self) -> bool:
        """Whether the latency is that of one graph."""
        return self.how == "graph replay"


def measure_resident(module: torch.nn.Module, source: Source, devices: Devices) -> Resident:
    """Measures a copy of `module` on the target with the example inputs of `source`, which was made from it.

    `module` has its precision's dtype already. The device memory this takes is given back.
    Raises InvalidInputError for a source without example inputs.
    """
    if source.example_inputs is None:
        raise InvalidInputError(f"{source.name} has no example inputs to call its module with; give some")
    try:
        with precision(source.dtype or None), torch.inference_mode():
            return _measure(_call_of(module, source, devices), devices)
    finally:
        gc.collect()
        if not devices.is_host:
            torch.cuda.empty_cache()


def _call_of(module: torch.nn.Module, source: Source, devices: Devices) -> Callable[[], tuple[torch.Tensor, ...]]:
    """Calls the module on the target, with everything it needs there."""
    if any(parameter.is_meta for parameter in module.parameters()):
        resident = materialise(module, devices.torch_target)
    else:
        resident = module if devices.is_host else copy.deepcopy(module).to(devices.torch_target)
    args, kwargs = _pytree.tree_map(
        lambda leaf: leaf.to(devices.torch_target) if isinstance(leaf, torch.Tensor) else leaf, source.example_inputs
    )
    return lambda: _tensors(resident(*args, **kwargs))


def _measure(call: Callable[[], tuple[torch.Tensor, ...]], devices: Devices) -> Resident:
    outputs = call()
    if devices.is_host:
        once_ms = _median_ms(call, devices, 1)
        repeats = int(min(_REPEATS, max(_HOST_MIN_REPEATS, _HOST_BUDGET_MS / max(once_ms, 1e-3))))
        return Resident(_median_ms(call, devices, repeats), "eager", outputs)
    with torch.cuda.device(devices.target):
        with mask_decisions() as decisions:
            captured = _capture(call, decisions)
        if captured is None:
            return Resident(_median_ms(call, devices, _REPEATS), "eager", outputs)
        graph, in_graph = captured
        latency_ms = _median_ms(graph.replay, devices, _REPEATS)
        # Those of the graph lie in its own memory, which goes with it.
        return Resident(latency_ms, "graph replay", outputs, tuple(tensor.clone() for tensor in in_graph))


def _capture(
    call: Callable[[], tuple[torch.Tensor, ...]], decisions: MaskDecisions
) -> tuple[torch.cuda.CUDAGraph, tuple[torch.Tensor, ...]] | None:
    """The call as a graph of the current device, and its outputs; None where the call cannot be captured."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            decisions.record()
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    decisions.repeat()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            outputs = call()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # CUDA's word for what waits for the device or copies from memory that is not pinned
        torch.cuda.synchronize()
        return None
    return graph, outputs


def _median_ms(run: Callable[[], Any], devices: Devices, repeats: int) -> float:
    """As cold starts are timed; one run before them is not counted."""
    run()
    latencies_ms = []
    for _ in range(repeats):
        machine.synchronize(devices)
        started = time.perf_counter()
        run()
        machine.synchronize(devices)
        latencies_ms.append((time.perf_counter() - started) * 1e3)
    return statistics.median(latencies_ms)


def _tensors(outputs: Any) -> tuple[torch.Tensor, ...]:
    return tuple(leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor))
