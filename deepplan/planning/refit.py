"""A plan for fewer links that loads what another plan loads, so that one host copy serves both.

Weights lie in host memory, and on the GPU, as placement and layer order have them; groups and routes only say how they
travel. Where a link is not to be had, the groups that suited it cost: many small ones, or large ones in a row.
"""

from __future__ import annotations

from dataclasses import replace

from deepplan.errors import InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.policies.optimal import optimal
from deepplan.planning.profile import LayerProfile, Profile
from deepplan.planning.search import POLICIES


def refit(profile: Profile, plan: Plan, links: int) -> Plan:
    """`plan` for the first `links` of its links: the same layers loaded, in groups and over routes that suit these.

    `profile` is the one it was made from. If any group of `plan` crosses coded, the groups stay as they are, as others
    cannot be cut out of coded bytes, and each takes its route's link modulo `links`; so it does where the plan's policy
    finds nothing faster. Raises InvalidInputError for more links than the plan has.
    """
    if not 1 <= links <= len(plan.links):
        most = len(plan.links)
        raise InvalidInputError(f"a plan over {most} links cannot be for {links} of them; give 1 to {most}")
    placements = [layer.placement for layer in plan.layers]
    used = plan.links[:links]
    folded = Plan.from_choices(
        profile,
        placements,
        [layer.group for layer in plan.layers],
        [route % links for route in plan.routes],
        coded=plan.coded,
        policy=plan.policy,
        links=used,
    )
    if any(plan.coded):
        return folded
    fixed = replace(
        profile.with_links(used),
        decode_gbps=None,
        layers=tuple(_placed(layer, each == "load") for layer, each in zip(profile.layers, placements, strict=True)),
    )
    choices = POLICIES.get(plan.policy, optimal)(fixed)
    fitted = Plan.from_choices(profile, placements, choices.groups, choices.routes, policy=plan.policy, links=used)
    return min(folded, fitted, key=lambda each: each.predicted_ms)


def _placed(layer: LayerProfile, loads: bool) -> LayerProfile:
    """`layer` with no choice left: one that can only be loaded, or that has nothing to load.

    That a read in place holds the target's link is left out of the search; what it finds is predicted with it.
    """
    if loads:
        return replace(layer, direct_host_access_ms=None, direct_host_access_link_ms=None)
    execute_ms = layer.execute_ms if layer.direct_host_access_ms is None else layer.direct_host_access_ms
    return replace(layer, size_bytes=0, execute_ms=execute_ms, direct_host_access_ms=None, coded_bytes=None)
