"""Where plans and profiles lie, and how they are found again.

    store = Store(folder)                 # None: $DEEPPLAN_HOME, or deepplan in the user's cache folder
    store.ensure_writable()               # before long work: InvalidInputError if its result could not be saved
    store.find_profile(origin)            # the saved Profile of exactly this origin, or None
    store.save_profile(profile)           # under the profile's own origin; returns the path
    store.find_plan(origin, policy)       # likewise a Plan; with coding=False one that was searched without coding
    store.save_plan(plan)                 # likewise

An origin is the `Origin` that a profile or plan carries: model and its digest, dtype, batch size, machine, devices and
torch. It decides the file's name, and what is found must carry it too. Needs neither torch nor the compiled core.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import tempfile
from pathlib import Path
from typing import TypeVar

from deepplan.errors import DocumentError, InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.profile import Origin, Profile
from deepplan.planning.search import POLICIES

D = TypeVar("D", Plan, Profile)


def default_folder() -> Path:
    """`$DEEPPLAN_HOME`, else the folder deepplan in the user's cache folder. Need not exist.

    Raises InvalidInputError for a user without a home.
    """
    home = os.environ.get("DEEPPLAN_HOME")
    if home:
        return Path(home)
    cache = os.environ.get("XDG_CACHE_HOME")
    # A relative path is invalid there: XDG Base Directory Specification, section 3.
    if cache and os.path.isabs(cache):
        return Path(cache) / "deepplan"
    try:
        return Path.home() / ".cache" / "deepplan"
    except RuntimeError:
        raise InvalidInputError("there is no home to keep plans in; name a folder with -p or DEEPPLAN_HOME") from None


class Store:
    """The profiles and plans in one folder, which is made when something is first saved."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)

    def profile_path(self, origin: Origin) -> Path:
        """Where the profile of `origin` lies or would lie."""
        return self._path(origin, "profile", Profile.VERSION)

    def plan_path(self, origin: Origin, policy: str, coding: bool = True) -> Path:
        """Where the plan that `policy` makes for `origin` lies or would lie, with or without `coding`."""
        return self._path(origin, f"{policy}.plan" if coding else f"{policy}.no-coding.plan", Plan.VERSION)

    def find_profile(self, origin: Origin) -> Profile | None:
        """The saved profile of exactly this origin. Raises DocumentError, naming the file, if it is damaged."""
        return _find(Profile, self.profile_path(origin), origin)

    def find_plan(self, origin: Origin, policy: str, coding: bool = True) -> Plan | None:
        """The saved plan of exactly this origin and policy, searched with or without `coding`.

        Raises DocumentError, naming the file, if it is damaged.
        """
        plan = _find(Plan, self.plan_path(origin, policy, coding), origin)
        return plan if plan is not None and plan.policy == policy and (coding or not any(plan.coded)) else None

    def save_profile(self, profile: Profile) -> Path:
        """Saves `profile` in place of an older one of its origin, whose plans go with it: they rest on its times.

        Raises InvalidInputError if it cannot be written.
        """
        self.ensure_writable()
        for policy, coding in itertools.product(POLICIES, (True, False)):
            self.plan_path(profile, policy, coding).unlink(missing_ok=True)
        return self._save(profile, self.profile_path(profile))

    def save_plan(self, plan: Plan, coding: bool = True) -> Path:
        """Saves `plan`, searched with or without `coding`, in place of an older one of its origin and policy.

        Raises InvalidInputError like the above.
        """
        return self._save(plan, self.plan_path(plan, plan.policy, coding))

    def ensure_writable(self) -> None:
        """Makes the folder. Raises InvalidInputError if nothing can be written there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise InvalidInputError(
                f"cannot write to the folder {self.folder}: {error.strerror}; "
                "name another one with -p, or in the environment variable DEEPPLAN_HOME"
            ) from None

    def _save(self, document: Plan | Profile, path: Path) -> Path:
        self.ensure_writable()
        document.save(path)
        return path

    def _path(self, origin: Origin, kind: str, version: int) -> Path:
        # The version of the format is part of the key: a newer deepplan makes its documents beside the older ones.
        key = json.dumps([_fields(origin), kind, version], sort_keys=True)
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        name = re.sub(r"[^0-9A-Za-z_.]+", "-", origin.model)[:80].strip(".-") or "model"
        dtype = re.sub(r"[^0-9A-Za-z]+", "-", origin.dtype) or "as-is"
        return self.folder / f"{name}-{dtype}-b{origin.batch_size}-{digest}.{kind}.json"


def _fields(origin: Origin) -> dict[str, object]:
    """Of plans and profiles too, which are origins with more fields."""
    return {**origin.origin, "devices": list(origin.devices)}


def _find(kind: type[D], path: Path, origin: Origin) -> D | None:
    if not os.path.exists(path):
        return None
    try:
        document = kind.load(path)
    except DocumentError as error:
        raise DocumentError(f"{error} (delete {path} and it is made again)") from None
    return document if document.origin == origin.origin else None
