"""The policies by name. A policy is a function from a profile to choices; it uses all of the profile's links."""

from __future__ import annotations

from collections.abc import Callable

from deepplan.planning.choices import Choices
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
