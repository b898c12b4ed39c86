"""What a policy decides: a placement for each layer, a group for each loaded layer, a route for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepplan.errors import InvalidInputError
from deepplan.planning.profile import Profile
from deepplan.planning.records import Index, IndexOrNone, Milliseconds, Record, refusal
from deepplan.planning.timeline import Placement


@dataclass(frozen=True)
class Choices(Record):
    """The free part of a plan. Layers without parameters are recorded as "dha"; theirs and DHA's group is -1.

    `coded` says of each group whether it crosses coded; none do if it is left out.

    `bound_ms` is a lower bound on the latency of any plan, where the policy proved one on its way.
    """

    placements: tuple[Placement, ...]
    groups: tuple[IndexOrNone, ...]
    routes: tuple[Index, ...]
    coded: tuple[bool, ...] = ()
    bound_ms: Milliseconds | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.coded:
            object.__setattr__(self, "coded", (False,) * len(self.routes))


def check_choices(
    profile: Profile,
    placements: Sequence[str],
    groups: Sequence[int],
    routes: Sequence[int],
    coded: Sequence[bool] | None = None,
) -> Choices:
    """The choices, if they are a plan for this profile. Raises InvalidInputError naming the layer or group if not."""
    choices = Choices(tuple(placements), tuple(groups), tuple(routes), tuple(coded or ()))  # type: ignore[arg-type]
    for name, values in (("placements", choices.placements), ("groups", choices.groups)):
        if len(values) != len(profile.layers):
            raise refusal(name, list(values), f"one entry for each of the {len(profile.layers)} layers")
    for group, route in enumerate(choices.routes):
        if route >= len(profile.links):
            raise refusal(f"routes[{group}]", route, f"one of the profile's {len(profile.links)} links")
    final_placements: list[Placement] = []
    final_groups: list[int] = []
    last = -1
    for index, layer in enumerate(profile.layers):
        placement, group = choices.placements[index], choices.groups[index]
        loads = placement == "load" and layer.size_bytes > 0
        where = f"layer {index} ({layer.name}): group"
        if loads:
            if group not in (last, last + 1) or group < 0:
                expected = f"{last} or {last + 1}" if last >= 0 else "0"
                raise refusal(where, group, f"{expected}: groups are contiguous over the loaded layers, from 0 up")
            last = group
        elif layer.size_bytes > 0:
            if layer.direct_host_access_ms is None:
                raise InvalidInputError(f"layer {index} ({layer.name}) cannot be read in place; load it")
            if group != -1:
                raise refusal(where, group, "-1, since the layer is read in place")
        final_placements.append("load" if loads else "dha")
        final_groups.append(group if loads else -1)
    if len(choices.routes) != last + 1:
        raise refusal("routes", list(choices.routes), f"one link for each of the {last + 1} groups")
    final = Choices(tuple(final_placements), tuple(final_groups), choices.routes, choices.coded)
    check_coded(profile, final)
    return final


def check_coded(profile: Profile, choices: Choices) -> None:
    """Raises InvalidInputError naming a group that is to cross coded but cannot under this profile."""
    if len(choices.coded) != len(choices.routes):
        raise refusal("coded", list(choices.coded), f"one entry for each of the {len(choices.routes)} groups")
    for layer, group in zip(profile.layers, choices.groups):
        if group < 0 or not choices.coded[group] or profile.codable(layer):
            continue
        if profile.decode_gbps is None:
            raise InvalidInputError(f"group {group} cannot cross coded: the profile has no decode_gbps; leave it plain")
        raise InvalidInputError(
            f"group {group} cannot cross coded: its layer {layer.name} has no coded_bytes; leave it plain"
        )
