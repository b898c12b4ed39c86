"""From a profile to a plan, by a named policy.

A policy is a function from a profile to choices; it may use all of the profile's links.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from deepplan.errors import InvalidInputError, UnknownNameError
from deepplan.planning.choices import Choices
from deepplan.planning.plan import Plan
from deepplan.planning.policies.load_all import load_all
from deepplan.planning.policies.optimal import optimal
from deepplan.planning.policies.paper import paper, static
from deepplan.planning.policies.pipeswitch import pipeswitch
from deepplan.planning.profile import Profile

Policy = Callable[[Profile], Choices]

POLICIES: dict[str, Policy] = {
    "optimal": optimal,
    "paper": paper,
    "static": static,
    "pipeswitch": pipeswitch,
    "load_all": load_all,
}


def search(
    profile: Profile, policy: str = "optimal", devices: Sequence[int | str] | None = None, coding: bool = True
) -> Plan:
    """The plan that `policy` makes for `profile`, checked and simulated.

    `optimal` lets groups cross coded where the profile's target decodes and that is faster; without `coding` none does,
    as for a target that cannot. The other policies never code: they are other people's methods.

    `devices` restricts it to some of the profile's links, the target's first: names as in `profile.devices` or their
    numbers (2 is "cuda:2"); for a profile that names no devices, indices of its links.
    Raises UnknownNameError for a policy that does not exist, InvalidInputError for a device that the profile has not
    and for another target than the profile's: what is known of a helper's link holds for the way over that helper.
    """
    if policy not in POLICIES:
        raise UnknownNameError(f"no policy is named {policy!r}; there are {', '.join(POLICIES)}")
    links = range(len(profile.links)) if devices is None else [_link_of(profile, device) for device in devices]
    if links and links[0] != 0:
        target = profile.devices[0] if profile.devices else "link 0"
        first = profile.devices[links[0]] if profile.devices else f"link {links[0]}"
        raise InvalidInputError(
            f"the first device must be the profile's target, {target}, not {first}; to run on another, profile there"
        )
    if not coding:
        profile = replace(profile, decode_gbps=None)
    used = profile.with_links(links)
    choices = POLICIES[policy](used)
    return Plan.from_choices(
        profile,
        choices.placements,
        choices.groups,
        choices.routes,
        coded=choices.coded,
        policy=policy,
        links=links,
        bound_ms=choices.bound_ms,
    )


def _link_of(profile: Profile, device: int | str) -> int:
    if isinstance(device, str) and device in profile.devices:
        return profile.devices.index(device)
    if isinstance(device, int) and not isinstance(device, bool):
        numbers = [name.rpartition(":")[2] for name in profile.devices] or [str(i) for i in range(len(profile.links))]
        if str(device) in numbers:
            return numbers.index(str(device))
    known = ", ".join(profile.devices) or f"links 0 to {len(profile.links) - 1}"
    raise InvalidInputError(f"device {device!r} is not in the profile; it has {known}")
