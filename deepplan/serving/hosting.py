"""A model in pinned host memory, for every GPU and batch size that it is served with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from deepplan import _core
from deepplan.engine import machine, precision
from deepplan.engine.binding import execution_plan
from deepplan.engine.capturing import Captures
from deepplan.engine.devices import Devices
from deepplan.engine.filling import fill
from deepplan.engine.floor import bytes_that_must_cross
from deepplan.engine.store import Store
from deepplan.errors import InvalidInputError
from deepplan.export.graph import Graph
from deepplan.planning.plan import Plan
from deepplan.serving.captured import Inputs, Sessions, capture_runs
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.inference import TensorSpec
from deepplan.serving.planned_source import plans_of, sources_of
from deepplan.serving.run_costs import cold_ms, warm_ms
from deepplan.serving.simulation import CrowdedMs, ServedModel
from deepplan.serving.tensors import input_specs, output_specs

_SEGMENT_BYTES = 2 << 20  # what a pool takes of its device at a time
_MEASURED = 4  # instances, for each GPU


@dataclass(frozen=True)
class PathBytes:
    """What a cold start moves: over PCIe as copies, those that follow it too; of these, from helpers over NVLink; by
    reads in place, without tables of which a few rows are gathered."""

    pcie: int
    nvlink: int
    zero_copy: int


@dataclass(frozen=True)
class HostedModel:
    """`graphs` are by batch size, `plans` for 1, 2, ... links; a cold start has to bring `needed_bytes` to the GPU
    somehow."""

    served: ServedSource
    graphs: Mapping[int, Graph] = field(repr=False)
    plans: tuple[Plan, ...] = field(repr=False)
    costs: ServedModel
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    needed_bytes: int
    sessions: Sessions = field(repr=False)
    captures: tuple[Captures, ...] = field(repr=False)

    @property
    def dtype(self) -> str:
        """What it was planned in."""
        return self.plans[-1].dtype

    def path_bytes(self, links: int) -> PathBytes:
        """Of a cold start over `links` links."""
        plan, first = self.plans[links - 1], self.sessions[0][0][0][1]
        groups = plan.timeline.groups
        return PathBytes(
            pcie=sum(group.crossing_bytes for group in groups) + first.resident_bytes - first.loaded_bytes,
            nvlink=sum(group.crossing_bytes for group in groups if group.route > 0),
            zero_copy=max(0, self.needed_bytes - plan.loaded_bytes),
        )


def partitions(devices: Devices, size: int) -> tuple[Devices, ...]:
    """For each device, itself and those of its group of `size` consecutive ones that lend it their links."""
    names = devices.names
    groups = [names[begin : begin + size] for begin in range(0, len(names), size)]
    return tuple(Devices((name, *(n for n in group if n != name))) for group in groups for name in group)


def host_model(served: ServedSource, deployment: Deployment, devices: Sequence[Devices], store: Store) -> HostedModel:
    """Exports, plans and copies `served` into pinned memory, and measures its runs on the first of the GPUs, which are
    taken to be alike. Raises DeepPlanError; OutOfMemoryError where pinned memory is too small for all instances."""
    sources = sources_of(served)
    plans = plans_of(sources[1], deployment, devices[0], store)

    def first(
        _: int, name: str, program: _core.Program, links: _core.Links, binding: _core.ExecutionPlan
    ) -> _core.Session:
        session = _core.Session(name, program, links, binding)
        fill(session, sources[1].captured)
        session.encode()
        return session

    graphs = {size: source.captured.graph for size, source in sources.items()}
    sessions = instance_sessions(served, graphs, plans, devices, first)
    inputs = {size: source.tensor_inputs() for size, source in sources.items()}
    dtype = plans[-1].dtype or None
    with precision.precision(dtype):
        for by_gpu in sessions[0][1:]:
            warm_up(inputs, by_gpu)
        captures = capture_runs(sessions, inputs, devices, dtype)
        costs, outputs = _measure(served, inputs, sessions, deployment.pt)
    return hosted_model(served, graphs, plans, costs, outputs, sessions, captures)


def instance_sessions(
    served: ServedSource,
    graphs: Mapping[int, Graph],
    plans: Sequence[Plan],
    devices: Sequence[Devices],
    first: Callable[[int, str, _core.Program, _core.Links, _core.ExecutionPlan], _core.Session],
) -> Sessions:
    """Sessions of all instances, on all GPUs, for all batch sizes, with `plans` for 1, 2, ... links. `first` is given
    an instance's index and what a session of its own is made from; the others share its host copy."""
    *fewer, binding = (execution_plan(graphs[1], plan, len(devices[0].names)) for plan in plans)
    programs = [{size: _core.Program(graph, gpu.torch_target) for size, graph in graphs.items()} for gpu in devices]
    links = [machine.links(gpu) for gpu in devices]
    sessions = []
    for index, name in enumerate(served.instance_names()):
        own = first(index, name, programs[0][1], links[0], binding)
        for count, plan in enumerate(fewer, 1):
            own.plan_for(count, plan)
        sessions.append(
            tuple(
                tuple(
                    (size, own if gpu == 0 and size == 1 else _core.Session(own, program, links[gpu]))
                    for size, program in by_size.items()
                )
                for gpu, by_size in enumerate(programs)
            )
        )
    return tuple(sessions)


def hosted_model(
    served: ServedSource,
    graphs: Mapping[int, Graph],
    plans: tuple[Plan, ...],
    costs: ServedModel,
    outputs: Sequence[object],
    sessions: Sessions,
    captures: tuple[Captures, ...],
) -> HostedModel:
    """With what follows from graph and outputs. Raises InvalidInputError where these are no tensors."""
    inputs, needed_bytes = input_specs(graphs[1]), bytes_that_must_cross(graphs[1])
    return HostedModel(
        served, graphs, plans, costs, inputs, output_specs(graphs[1], outputs), needed_bytes, sessions, captures
    )


def warm_up(inputs: Inputs, sessions: Sequence[tuple[int, _core.Session]]) -> list[object]:
    """What only first runs on a GPU cost is not to be paid by requests. Returns the outputs at batch size 1."""
    outputs = [session.answer(list(inputs[size])) for size, session in sessions]
    sessions[0][1].evict()
    return outputs[0]


def _measure(served: ServedSource, inputs: Inputs, sessions: Sessions, links: int) -> tuple[ServedModel, list[object]]:
    """What runs on the first GPU take, and the outputs of a call of batch size 1. Of many instances some are measured,
    for each GPU others."""
    outputs: dict[int, list[object]] = {}
    warm: list[float] = []
    cold: list[tuple[float, ...]] = []
    crowded: list[CrowdedMs] = []
    gpus = range(len(sessions[0]))
    measured = _spread(sessions, _MEASURED * len(gpus))
    for index, (size, _) in enumerate(sessions[0][0]):
        by_gpu = [[instance[gpu][index][1] for instance in measured] for gpu in gpus]
        resident = by_gpu[0][:2]
        alone, *beside = cold_ms(by_gpu, inputs[size], links)
        cold.append(alone)
        crowded.append(tuple(beside))
        warm.append(warm_ms(resident, inputs[size]))
        outputs[size] = resident[0].answer(list(inputs[size]))
        _check_batch(served, size, outputs[1], outputs[size])
        for session in resident:
            session.evict()
    costs = ServedModel(
        name=served.served_name,
        instances=len(served.instance_names()),
        device_bytes=-(-sessions[0][0][0][1].resident_bytes // _SEGMENT_BYTES) * _SEGMENT_BYTES,
        warm_ms=tuple(warm),
        cold_ms=tuple(cold),
        batch_sizes=served.batch_sizes,
        crowded_ms=tuple(crowded),
    )
    return costs, outputs[1]


def _spread(sessions: Sessions, most: int) -> Sessions:
    """At most so many of the instances, at equal distances."""
    count = min(most, len(sessions))
    return tuple(sessions[(2 * i + 1) * len(sessions) // (2 * count)] for i in range(count))


def _check_batch(served: ServedSource, size: int, one: Sequence[object], several: Sequence[object]) -> None:
    """Whether the answers of `size` requests that were run together can be told apart."""
    for single, joined in zip(one, several, strict=True):
        if not isinstance(single, torch.Tensor) or not isinstance(joined, torch.Tensor):
            continue  # refused with its name later
        if size > 1 and (single.dim() == 0 or joined.shape != (size * single.shape[0], *single.shape[1:])):
            raise InvalidInputError(
                f"{served.served_name} returns {tuple(joined.shape)} for a batch of {size} and {tuple(single.shape)} "
                "for one call: such calls cannot be run together; give it the batch size 1 alone"
            )
