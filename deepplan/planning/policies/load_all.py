"""On-demand: everything in one group by one copy over the target's own link, then run."""

from __future__ import annotations

from deepplan.planning.choices import Choices
from deepplan.planning.profile import Profile
from deepplan.planning.timeline import Placement


def load_all(profile: Profile) -> Choices:
    """One group with all parameters, on link 0."""
    loads = [layer.size_bytes > 0 for layer in profile.layers]
    placements: tuple[Placement, ...] = tuple("load" if load else "dha" for load in loads)
    return Choices(placements, tuple(0 if load else -1 for load in loads), (0,) if any(loads) else ())
