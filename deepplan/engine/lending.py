"""Which helpers can lend their links, and how a plan goes on without the others: slower, and right all the same."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.errors import DeviceError
from deepplan.planning.plan import Plan


@dataclass(frozen=True)
class Lenders:
    """The target and the helpers that lend, and their `positions` among the devices that were asked for.

    `refusals` says of each other helper why it cannot.
    """

    devices: Devices
    positions: tuple[int, ...]
    refusals: Mapping[str, str]


def find_lenders(devices: Devices) -> Lenders:
    """Tries all of `devices`, and without those helpers that have no memory for their staging buffers or no way to the
    target, of which it warns. Raises DeviceError where the target itself is at fault."""
    everybody = tuple(range(len(devices.names)))
    try:
        machine.links(devices)
    except DeviceError:
        if len(devices.names) == 1:
            raise
    else:
        return Lenders(devices, everybody, {})
    refusals = {name: reason for name in devices.names[1:] if (reason := _refusal(devices.target, name)) is not None}
    positions = tuple(position for position in everybody if devices.names[position] not in refusals)
    remaining = Devices(tuple(devices.names[position] for position in positions))
    machine.links(remaining)
    for name, reason in refusals.items():
        warnings.warn(f"{name} lends no link, others carry its part: {reason}", RuntimeWarning, stacklevel=2)
    return Lenders(remaining, positions, refusals)


def detour(plan: Plan, positions: Sequence[int]) -> Plan:
    """`plan` over those of its links that are at `positions`, which are counted anew.

    Groups of the others go over the link that has fewest bytes to carry until then. What is predicted stays as it was.
    """
    number = {position: index for index, position in enumerate(p for p in positions if p < len(plan.links))}
    if len(number) == len(plan.links):
        return plan
    carried_bytes = [0] * len(number)
    groups = []
    for group in plan.timeline.groups:
        route = number.get(group.route, min(range(len(number)), key=carried_bytes.__getitem__))
        carried_bytes[route] += group.crossing_bytes
        groups.append(dataclasses.replace(group, route=route))
    layers = (
        dataclasses.replace(layer, route=groups[layer.group].route) if layer.group >= 0 else layer
        for layer in plan.layers
    )
    timeline = dataclasses.replace(plan.timeline, groups=tuple(groups), devices=_at(number, plan.timeline.devices))
    return dataclasses.replace(
        plan,
        layers=tuple(layers),
        links=tuple(plan.links[position] for position in number),
        devices=_at(number, plan.devices),
        timeline=timeline,
    )


def _at(positions: Iterable[int], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(names[position] for position in positions) if names else ()


def _refusal(target: str, helper: str) -> str | None:
    """Why `helper` cannot lend its link; None if it can."""
    try:
        _core.Links(machine.target(target), [helper])
    except DeviceError as error:
        return str(error).splitlines()[0]
    return None
