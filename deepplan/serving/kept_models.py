"""Models in pinned memory that outlives the engine, as data: what a later engine needs to serve them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from deepplan import _core
from deepplan.engine import precision
from deepplan.engine.devices import Devices
from deepplan.errors import InvalidInputError
from deepplan.export.graph import Graph
from deepplan.planning.plan import Plan
from deepplan.planning.records import Bytes, Count, PositiveBytes, Record, from_json
from deepplan.serving.captured import capture_runs
from deepplan.serving.deployment import ServedSource
from deepplan.serving.hosting import HostedModel, hosted_model, instance_sessions, warm_up
from deepplan.serving.simulation import ServedModel


@dataclass(frozen=True)
class KeptCopy(Record):
    """Where an instance's weights lie in kept memory: in which segment, where in it, and of the pieces of each coded
    group the coded bytes (see `HostCopy` in csrc/runtime/host_weights.h)."""

    segment_at: PositiveBytes
    segment_bytes: PositiveBytes
    offset: Bytes
    bytes: PositiveBytes
    coded_bytes: tuple[tuple[Bytes, ...], ...]

    @classmethod
    def of(cls, copy: _core.HostCopy) -> KeptCopy:
        place = copy.place
        coded = tuple(tuple(pieces) for pieces in copy.coded_bytes)
        return cls(place.segment_at, place.segment_bytes, place.offset, place.bytes, coded)

    def native(self) -> _core.HostCopy:
        place = _core.KeptPlace(self.segment_at, self.segment_bytes, self.offset, self.bytes)
        return _core.HostCopy(place, self.coded_bytes)


@dataclass(frozen=True)
class KeptModel(Record):
    """A `HostedModel` as data: `graphs` and `plans` are JSON documents, `copies` are by instance."""

    served: ServedSource
    batch_sizes: tuple[Count, ...]
    graphs: tuple[str, ...]
    plans: tuple[str, ...]
    costs: ServedModel
    copies: tuple[KeptCopy, ...]

    @classmethod
    def of(cls, hosted: HostedModel) -> KeptModel:
        """Raises InvalidInputError where the weights do not lie in kept memory."""
        return cls(
            served=hosted.served,
            batch_sizes=tuple(hosted.graphs),
            graphs=tuple(graph.to_json() for graph in hosted.graphs.values()),
            plans=tuple(plan.to_text() for plan in hosted.plans),
            costs=hosted.costs,
            copies=tuple(KeptCopy.of(by_gpu[0][0][1].host_copy()) for by_gpu in hosted.sessions),
        )

    def to_json(self) -> dict[str, Any]:
        """For `from_json`, in the next process."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> KeptModel:
        """Raises InvalidInputError for anything that `to_json` did not make."""
        kept: KeptModel = from_json(cls, data, "a kept model")
        return kept


def adopt_model(kept: KeptModel, devices: Sequence[Devices]) -> HostedModel:
    """The model as an earlier engine of the same deployment left it, its weights where they were.

    Raises DeepPlanError where it cannot be had.
    """
    if len(kept.copies) != len(kept.served.instance_names()) or len(kept.graphs) != len(kept.batch_sizes):
        raise InvalidInputError(f"what is kept of {kept.served.served_name} is of other instances or batch sizes")
    if not kept.plans:
        raise InvalidInputError(f"nothing is kept of how {kept.served.served_name} was planned")
    graphs = {size: Graph.from_json(text) for size, text in zip(kept.batch_sizes, kept.graphs)}
    plans = tuple(Plan.from_text(text) for text in kept.plans)

    def again(
        index: int, name: str, program: _core.Program, links: _core.Links, binding: _core.ExecutionPlan
    ) -> _core.Session:
        return _core.Session(name, program, links, binding, kept.copies[index].native())

    sessions = instance_sessions(kept.served, graphs, plans, devices, again)
    inputs = {size: _zeros(graph) for size, graph in graphs.items()}
    dtype = plans[-1].dtype or None
    with precision.precision(dtype):
        outputs = [warm_up(inputs, by_gpu) for by_gpu in sessions[0]]
        captures = capture_runs(sessions, inputs, devices, dtype)
    return hosted_model(kept.served, graphs, plans, kept.costs, outputs[0], sessions, captures)


def _zeros(graph: Graph) -> list[torch.Tensor]:
    tensors = [spec for spec in graph.inputs if spec.kind == "tensor"]
    return [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in tensors]
