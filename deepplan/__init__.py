"""deepplan: serve PyTorch models from host memory at the latency of resident ones.

`import deepplan` is cheap: every public name is imported when it is first used, so planning from a saved profile needs
neither torch nor the compiled runtime.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepplan import models
    from deepplan.api import load, plan, profile, search, simulate
    from deepplan.engine.session import Session
    from deepplan.errors import (
        BuildError,
        DeepPlanError,
        DeviceError,
        DocumentError,
        ExportError,
        InvalidInputError,
        MismatchError,
        OutOfMemoryError,
        UnknownNameError,
    )
    from deepplan.planning.plan import Plan
    from deepplan.planning.profile import LayerProfile, LinkProfile, Profile
    from deepplan.planning.timeline import Timeline
    from deepplan.serving.simulation import ServedModel, ServingResult, simulate_serving

__version__ = "0.1.0"

# Python started in the source folder finds this package there, without its compiled part: take that part from where
# deepplan is installed.
__path__ = pkgutil.extend_path(__path__, __name__)

__all__ = [
    "BuildError",
    "DeepPlanError",
    "DeviceError",
    "DocumentError",
    "ExportError",
    "InvalidInputError",
    "LayerProfile",
    "LinkProfile",
    "MismatchError",
    "OutOfMemoryError",
    "Plan",
    "Profile",
    "ServedModel",
    "ServingResult",
    "Session",
    "Timeline",
    "UnknownNameError",
    "__version__",
    "load",
    "models",
    "plan",
    "profile",
    "search",
    "simulate",
    "simulate_serving",
]

_HOMES = {
    "deepplan.api": ("load", "plan", "profile", "search", "simulate"),
    "deepplan.engine.session": ("Session",),
    "deepplan.errors": (
        "BuildError",
        "DeepPlanError",
        "DeviceError",
        "DocumentError",
        "ExportError",
        "InvalidInputError",
        "MismatchError",
        "OutOfMemoryError",
        "UnknownNameError",
    ),
    "deepplan.planning.plan": ("Plan",),
    "deepplan.planning.profile": ("LayerProfile", "LinkProfile", "Profile"),
    "deepplan.planning.timeline": ("Timeline",),
    "deepplan.serving.simulation": ("ServedModel", "ServingResult", "simulate_serving"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "models":
        value: object = importlib.import_module("deepplan.models")
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'deepplan' has no attribute '{name}'")
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
