"""Profiles of the zoo that were measured on our machines and ship with the package, so that one can plan without them.

A profile lies at `<machine>/<model>-<dtype>-b<batch size>.json` beside this file.
"""

from __future__ import annotations

from pathlib import Path

from deepplan.errors import InvalidInputError, UnknownNameError
from deepplan.planning.profile import Profile

_FOLDER = Path(__file__).parent


def machines() -> tuple[str, ...]:
    """The machines whose profiles ship, by name ("h200x4")."""
    return tuple(sorted(folder.name for folder in _FOLDER.iterdir() if any(folder.glob("*.json"))))


def shipped_profile(machine: str, model: object, dtype: str = "fp32", batch_size: int = 1) -> Profile:
    """The profile of a zoo model that was measured on `machine`; needs neither torch nor a GPU.

    `model` is a zoo name, or a model that the zoo built. Raises UnknownNameError, listing what there is, for a machine
    or a model that was not measured there.
    """
    model = getattr(model, "zoo_name", model)
    if not isinstance(model, str):
        raise InvalidInputError(f"machine={machine!r} goes with a zoo name, not with a {type(model).__name__}")
    known = machines()
    if machine not in known:
        listed = ", ".join(known) or "none in this installation"
        raise UnknownNameError(f"no profiles ship for a machine {machine!r}; there are: {listed}")
    name = f"{model}-{dtype}-b{batch_size}"
    available = sorted(path.stem for path in (_FOLDER / machine).glob("*.json"))
    if name not in available:
        raise UnknownNameError(
            f"model {model} in {dtype}, batch {batch_size}, was not measured on {machine}; "
            f"there are: {', '.join(available)} (model-dtype-batch)"
        )
    return Profile.load(_FOLDER / machine / f"{name}.json")
