"""A model in pinned host memory, for every GPU and batch size that it is served with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from deepplan import _core, models
from deepplan.engine import machine, precision
from deepplan.engine.benchmark import policy_of
from deepplan.engine.binding import execution_plan
from deepplan.engine.devices import Devices
from deepplan.engine.filling import fill
from deepplan.engine.floor import bytes_that_must_cross
from deepplan.engine.origin import origin_of
from deepplan.engine.profiler import profile_source
from deepplan.engine.source import Source, resolve
from deepplan.engine.store import Store
from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.search import search
from deepplan.serving.deployment import Deployment, ServedSource
from deepplan.serving.inference import TensorSpec
from deepplan.serving.run_costs import cold_ms, outputs_of, warm_ms
from deepplan.serving.simulation import ServedModel
from deepplan.serving.tensors import input_specs, output_specs

_SEGMENT_BYTES = 2 << 20  # what a pool takes of its device at a time
_PROFILE_BUDGET_S = 1.0

# By batch size.
Sources = Mapping[int, Source]


@dataclass(frozen=True)
class PathBytes:
    """What a cold start moves: over PCIe as copies, those that follow it too; of these, from helpers over NVLink; by
    reads in place, without tables of which a few rows are gathered."""

    pcie: int
    nvlink: int
    zero_copy: int


@dataclass(frozen=True)
class HostedModel:
    """`sessions` are by instance and GPU: pairs of a batch size and its session, ascending. A cold start has to bring
    `needed_bytes` to the GPU somehow."""

    served: ServedSource
    plan: Plan
    costs: ServedModel
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    needed_bytes: int
    sessions: tuple[tuple[tuple[tuple[int, _core.Session], ...], ...], ...] = field(repr=False)

    def path_bytes(self, links: int) -> PathBytes:
        """Of a cold start over `links` links: groups of the others go over these in turn, as the runtime has it."""
        groups, first = self.plan.timeline.groups, self.sessions[0][0][0][1]
        return PathBytes(
            pcie=sum(group.crossing_bytes for group in groups) + first.resident_bytes - first.loaded_bytes,
            nvlink=sum(group.crossing_bytes for group in groups if group.route % links),
            zero_copy=max(0, self.needed_bytes - self.plan.loaded_bytes),
        )


def partitions(devices: Devices, size: int) -> tuple[Devices, ...]:
    """For each device, itself and those of its group of `size` consecutive ones that lend it their links."""
    names = devices.names
    groups = [names[begin : begin + size] for begin in range(0, len(names), size)]
    return tuple(Devices((name, *(n for n in group if n != name))) for group in groups for name in group)


def host_model(served: ServedSource, deployment: Deployment, devices: Sequence[Devices], store: Store) -> HostedModel:
    """Exports, plans and copies `served` into pinned memory, and measures its runs on the first of the GPUs, which are
    taken to be alike. Raises DeepPlanError; OutOfMemoryError where pinned memory is too small for all instances."""
    sources = _sources(served)
    source = sources[1]
    graph = source.captured.graph
    plan = _plan(source, deployment, devices[0], store)
    binding = execution_plan(graph, plan, len(devices[0].names))
    programs = [
        {size: _core.Program(sized.captured.graph, gpu.torch_target) for size, sized in sources.items()}
        for gpu in devices
    ]
    sessions = []
    for name in served.instance_names():
        links = [machine.links(gpu) for gpu in devices]
        first = _core.Session(name, programs[0][1], links[0], binding)
        fill(first, source.captured)
        first.encode()
        sessions.append(
            tuple(
                tuple(
                    (size, first if gpu == 0 and size == 1 else _core.Session(first, program, links[gpu]))
                    for size, program in by_size.items()
                )
                for gpu, by_size in enumerate(programs)
            )
        )
    with precision.precision(source.dtype or None):
        for by_gpu in sessions[0][1:]:
            _warm_up(sources, by_gpu)
        costs, outputs = _measure(served, sources, sessions[0][0], deployment.pt)
    inputs, needed_bytes = input_specs(graph), bytes_that_must_cross(graph)
    return HostedModel(served, plan, costs, inputs, output_specs(graph, outputs), needed_bytes, tuple(sessions))


def _sources(served: ServedSource) -> Sources:
    if served.source not in models.names():
        if served.batch_sizes != (1,) or served.weights is not None:
            raise InvalidInputError(f"{served.source} brings its own batch size and weights; leave these settings out")
        return {1: resolve(served.source, dtype=served.dtype, trust=served.trust, keep=False)}
    dtype = served.dtype or models.default_dtype(served.source)
    module, _, _ = precision.prepare(models.build(served.source, weights=served.weights), (), {}, dtype)
    return {size: resolve(module, dtype=dtype, batch_size=size, keep=False) for size in served.batch_sizes}


def _plan(source: Source, deployment: Deployment, devices: Devices, store: Store) -> Plan:
    """The saved plan for this very case, else one that is made and saved now."""
    origin, policy = origin_of(source, devices), policy_of(deployment.engine)
    plan = store.find_plan(origin, policy, deployment.coding)
    if plan is None:
        profile = store.find_profile(origin)
        if profile is None:
            profile = profile_source(
                source, devices, source.tensor_inputs(), lambda share: None, budget_s=_PROFILE_BUDGET_S
            )
            store.save_profile(profile)
        plan = search(profile, policy, coding=deployment.coding)
        store.save_plan(plan, deployment.coding)
    return plan


def _warm_up(sources: Sources, sessions: Sequence[tuple[int, _core.Session]]) -> None:
    """What only first runs on a GPU cost is not to be paid by requests."""
    for size, session in sessions:
        outputs_of(session, sources[size].tensor_inputs())
    sessions[0][1].evict()


def _measure(
    served: ServedSource, sources: Sources, sessions: Sequence[tuple[int, _core.Session]], links: int
) -> tuple[ServedModel, list[object]]:
    """What one instance's runs take on one GPU, and the outputs of a call of batch size 1."""
    outputs: dict[int, list[object]] = {}
    warm: list[float] = []
    cold: list[tuple[float, ...]] = []
    for size, session in sessions:
        inputs = sources[size].tensor_inputs()
        cold.append(tuple(cold_ms(session, inputs, count) for count in range(1, links + 1)))
        warm.append(warm_ms(session, inputs))
        outputs[size] = outputs_of(session, inputs)
        _check_batch(served, size, outputs[1], outputs[size])
    first = sessions[0][1]
    first.evict()
    costs = ServedModel(
        name=served.served_name,
        instances=len(served.instance_names()),
        device_bytes=-(-first.resident_bytes // _SEGMENT_BYTES) * _SEGMENT_BYTES,
        warm_ms=tuple(warm),
        cold_ms=tuple(cold),
        batch_sizes=served.batch_sizes,
    )
    return costs, outputs[1]


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
