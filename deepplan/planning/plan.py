"""A plan: how one model is brought onto one machine's target GPU and run there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from deepplan.errors import InvalidInputError
from deepplan.planning.bounds import lower_bound_ms
from deepplan.planning.choices import check_choices
from deepplan.planning.documents import Document
from deepplan.planning.profile import Origin, Profile
from deepplan.planning.records import Bytes, Index, IndexOrNone, Range, Record, refusal
from deepplan.planning.simulator import simulate_choices
from deepplan.planning.table import plan_table
from deepplan.planning.timeline import Placement, Timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlanLayer(Record):
    """One layer's part in a plan; `group` and `route` are -1 for layers read in place or without parameters.

    `route` is the position in the plan's `links` (and `devices`) of the link its group travels on.
    """

    name: str
    type: str
    size_bytes: Bytes
    placement: Placement
    group: IndexOrNone = -1
    route: IndexOrNone = -1


@dataclass(frozen=True)
class Plan(Document, Origin):
    """Layers in execution order, and the cold start that is predicted of them.

    `links` are the profile's links that the plan may use, the target's own first. `gap` is how far the prediction lies
    above a lower bound, as a fraction of the prediction: 0 when no plan can be faster.
    """

    FORMAT: ClassVar[str] = "deepplan.plan"
    VERSION: ClassVar[int] = 1

    layers: tuple[PlanLayer, ...]
    links: tuple[Index, ...]
    policy: str
    gap: Annotated[float, Range(0, 1)]
    timeline: Timeline

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.links or len(set(self.links)) != len(self.links):
            raise refusal("links", list(self.links), "the different links of the profile in use, at least one")
        if self.devices and len(self.devices) != len(self.links):
            raise refusal("devices", list(self.devices), f"empty, or one name for each of the {len(self.links)} links")
        routes: list[int] = []
        for index, layer in enumerate(self.layers):
            _check_layer(f"layers[{index}]", layer, routes, len(self.links))
        _check_timeline(self.layers, routes, self.timeline)

    @classmethod
    def from_choices(
        cls,
        profile: Profile,
        placements: Sequence[str],
        groups: Sequence[int],
        routes: Sequence[int],
        *,
        coded: Sequence[bool] | None = None,
        policy: str = "custom",
        links: Sequence[int] | None = None,
        bound_ms: float | None = None,
    ) -> Plan:
        """A plan for `profile` made of one placement and one group for each layer and one route for each group.

        `placements` are "load" or "dha". `groups` count up over the loaded layers, -1 for the others. `routes` are
        positions in `links`, the profile's links to use (default: all of them). `coded` says of each group whether it
        crosses coded (default: none does). `bound_ms` is a lower bound on the
        latency of any plan, if a better one is known than can be computed at once.
        Raises InvalidInputError naming the layer or group that does not fit.
        """
        links = tuple(range(len(profile.links))) if links is None else tuple(links)
        used = profile.with_links(links)
        choices = check_choices(used, placements, groups, routes, coded)
        timeline = simulate_choices(used, choices, policy)
        bound = lower_bound_ms(used) if bound_ms is None else bound_ms
        gap = max(0.0, 1.0 - bound / timeline.total_ms) if timeline.total_ms > 0 else 0.0
        layers = tuple(
            PlanLayer(x.name, x.type, x.size_bytes, placement, group, choices.routes[group] if group >= 0 else -1)
            for x, placement, group in zip(used.layers, choices.placements, choices.groups)
        )
        return cls(layers=layers, links=links, policy=policy, gap=gap, timeline=timeline, **used.origin)

    @property
    def predicted_ms(self) -> float:
        """The cold-start latency under the profile the plan was made from."""
        return self.timeline.total_ms

    @property
    def routes(self) -> tuple[int, ...]:
        """The route of each group."""
        return tuple(group.route for group in self.timeline.groups)

    @property
    def coded(self) -> tuple[bool, ...]:
        """Whether each group crosses coded."""
        return tuple(group.coded for group in self.timeline.groups)

    @property
    def loaded_bytes(self) -> int:
        """Bytes of parameters that are copied to the target."""
        return sum(layer.size_bytes for layer in self.layers if layer.group >= 0)

    @property
    def crossing_bytes(self) -> int:
        """Bytes that the copies carry over the links: fewer than `loaded_bytes` where groups cross coded."""
        return sum(group.crossing_bytes for group in self.timeline.groups)

    @property
    def coded_bytes(self) -> int:
        """Bytes that the coded groups' copies carry."""
        return sum(group.crossing_bytes for group in self.timeline.groups if group.coded)

    @property
    def coded_plain_bytes(self) -> int:
        """Bytes of parameters in coded groups."""
        return sum(group.size_bytes for group in self.timeline.groups if group.coded)

    @property
    def direct_host_access_bytes(self) -> int:
        """Bytes that stay in host memory and are read in place."""
        return sum(layer.size_bytes for layer in self.layers if layer.group < 0)

    def __str__(self) -> str:
        return plan_table(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draws the predicted cold start; saved at `path` if one is given."""
        return self.timeline.plot(path)


def _check_layer(where: str, layer: PlanLayer, routes: list[int], links: int) -> None:
    """Checks one layer against those before it; `routes` collects the routes of the groups seen so far."""
    loads = layer.placement == "load"
    if loads and layer.size_bytes == 0:
        raise refusal(f"{where}.placement", layer.placement, "'dha', since the layer has no parameters")
    if not loads:
        if layer.group != -1 or layer.route != -1:
            raise InvalidInputError(f"{where}: group and route must be -1, since the layer is not loaded")
        return
    if not 0 <= layer.route < links:
        raise refusal(f"{where}.route", layer.route, f"one of the plan's {links} links")
    if layer.group == len(routes):
        routes.append(layer.route)
    elif layer.group != len(routes) - 1 or layer.group < 0:
        raise refusal(f"{where}.group", layer.group, "contiguous over the loaded layers, from 0 up")
    elif layer.route != routes[-1]:
        raise refusal(f"{where}.route", layer.route, f"that of its group, {routes[-1]}")


def _check_timeline(layers: Sequence[PlanLayer], routes: Sequence[int], timeline: Timeline) -> None:
    """A timeline drawn from a plan must be the plan's own."""
    planned = [(layer.name, layer.placement, layer.group, layer.size_bytes) for layer in layers]
    sizes = [0] * len(routes)
    for layer in layers:
        if layer.group >= 0:
            sizes[layer.group] += layer.size_bytes
    drawn = [(layer.name, layer.placement, layer.group, layer.size_bytes) for layer in timeline.layers]
    if planned != drawn or [(g.route, g.size_bytes) for g in timeline.groups] != list(zip(routes, sizes)):
        raise InvalidInputError("timeline: its layers and groups must be those of the plan; search the plan again")
