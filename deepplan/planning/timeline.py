"""A timeline: when each layer ran and each group travelled in one cold start, predicted or measured."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from deepplan.errors import InvalidInputError
from deepplan.planning.documents import Document
from deepplan.planning.records import ADDED, Bytes, Index, IndexOrNone, Milliseconds, Record, refusal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Placement = Literal["load", "dha"]


@dataclass(frozen=True)
class TimelineLayer(Record):
    """One layer's execution. `stall_ms` is how long the device idled for its group before `start_ms`.

    `group` is -1 for layers that are read in place or have no parameters; `size_bytes`, of parameters, tells those two
    apart.
    """

    name: str
    placement: Placement
    group: IndexOrNone
    start_ms: Milliseconds
    end_ms: Milliseconds
    stall_ms: Milliseconds = 0.0
    size_bytes: Bytes = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end_ms < self.start_ms:
            raise refusal("end_ms", self.end_ms, f"no earlier than start_ms, {self.start_ms}")


@dataclass(frozen=True)
class TimelineGroup(Record):
    """One group's copy. `route` is the index of the link it travels on, `end_ms` its arrival in the target GPU.

    `coded_bytes` is what it takes coded if that is how it crosses, None if it crosses as it is. A coded group has
    arrived when it is decoded.
    """

    route: Index
    size_bytes: Bytes
    start_ms: Milliseconds
    end_ms: Milliseconds
    coded_bytes: Bytes | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end_ms < self.start_ms:
            raise refusal("end_ms", self.end_ms, f"no earlier than start_ms, {self.start_ms}")

    @property
    def coded(self) -> bool:
        """Whether it crosses coded."""
        return self.coded_bytes is not None

    @property
    def crossing_bytes(self) -> int:
        """What its copy carries."""
        return self.size_bytes if self.coded_bytes is None else self.coded_bytes


@dataclass(frozen=True)
class Timeline(Document):
    """All of one cold start; times count from the call. `total_ms` is the cold-start latency."""

    FORMAT: ClassVar[str] = "deepplan.timeline"
    VERSION: ClassVar[int] = 1

    layers: tuple[TimelineLayer, ...]
    groups: tuple[TimelineGroup, ...]
    total_ms: Milliseconds
    kind: Literal["predicted", "measured"] = "predicted"
    model: str = ""
    policy: str = ""
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for index, layer in enumerate(self.layers):
            if layer.group >= len(self.groups):
                where = f"layers[{index}].group"
                raise refusal(where, layer.group, f"one of the {len(self.groups)} groups, or -1 for none")
        routes = max((group.route for group in self.groups), default=0) + 1
        if self.devices and len(self.devices) < routes:
            raise InvalidInputError(f"devices are {list(self.devices)}; the groups travel over {routes} links")

    @property
    def stall_ms(self) -> float:
        """How long the device idled for weights, in all."""
        return sum(layer.stall_ms for layer in self.layers)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draws the timeline, one lane for each link and one for execution; saved at `path` if one is given."""
        from deepplan.plots.timeline import draw_timeline

        return draw_timeline(self, path)

    def to_perfetto(self, path: str | os.PathLike[str]) -> None:
        """Writes the timeline as Chrome trace JSON, for ui.perfetto.dev or chrome://tracing."""
        from deepplan.plots.perfetto import write_perfetto

        write_perfetto(self, path)
