"""Which of the engine's models clients may use: the protocol's model repository extension.

Models are those the server was started with, always. To unload one takes it off the GPUs and answers errors until it is
loaded again; nothing is ever read from a path, a configuration or a file that a client sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepplan.errors import InvalidInputError, UnavailableError, UnknownNameError
from deepplan.server.tensors import Signature, check_version
from deepplan.serving.inference import Engine

_NAMES_SHOWN = 8


@dataclass(frozen=True)
class IndexEntry:
    """One model in the index; `state` is READY or UNAVAILABLE, for a `reason`."""

    name: str
    version: str
    state: str
    reason: str


class Repository:
    """The models of one engine, and which of them a client unloaded."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._signatures: dict[str, Signature] = {}
        self._unloaded: set[str] = set()

    def signature(self, name: str, version: str = "") -> Signature:
        """How to call a model that may be called; raises UnknownNameError or UnavailableError."""
        check_version(version)
        model = self._engine.models.get(name)
        if model is None:
            raise self._unknown(name)
        if name in self._unloaded:
            raise UnavailableError(f"model {name!r} was unloaded by a client; load it first")
        known = self._signatures.get(name)
        if known is None or known.model is not model:
            known = self._signatures[name] = Signature(model)
        return known

    def ready(self, name: str, version: str = "") -> bool:
        """Whether a request of the model would be taken; raises UnknownNameError."""
        try:
            self.signature(name, version)
        except UnavailableError:
            return False
        return self._engine.ready

    def index(self, *, ready_only: bool = False) -> list[IndexEntry]:
        """Every model there is, or every one that is ready, by name."""
        entries = [self._entry(name) for name in sorted(self._engine.models)]
        return [entry for entry in entries if entry.state == "READY" or not ready_only]

    def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Takes requests of the model again; its weights have not left host memory.

        Raises UnknownNameError, and InvalidInputError for any parameter: there is nothing a client may choose.
        """
        self.check(name)
        if parameters:
            first = str(next(iter(parameters)))[:40]
            raise InvalidInputError(f"the load parameter {first!r} is not supported; models are the server's own")
        self._unloaded.discard(name)

    async def unload(self, name: str) -> None:
        """Refuses further requests of the model and takes it out of GPU memory once those under way have run."""
        self.check(name)
        self._unloaded.add(name)
        await self._engine.evict(name)

    def check(self, name: str) -> None:
        """Raises UnknownNameError for a model that is not served, unloaded or not."""
        if name not in self._engine.models:
            raise self._unknown(name)

    def _entry(self, name: str) -> IndexEntry:
        if name in self._unloaded:
            return IndexEntry(name, "1", "UNAVAILABLE", "unloaded")
        if not self._engine.ready:
            return IndexEntry(name, "1", "UNAVAILABLE", "the server is not ready")
        return IndexEntry(name, "1", "READY", "")

    def _unknown(self, name: str) -> UnknownNameError | UnavailableError:
        if not self._engine.ready:
            return UnavailableError(f"no model {name[:80]!r} is known yet; try again when the server is ready")
        names = sorted(self._engine.models)
        shown = ", ".join(names[:_NAMES_SHOWN]) + ", ..." * (len(names) > _NAMES_SHOWN)
        return UnknownNameError(f"there is no model {name[:80]!r}; served are {shown or 'none'}")
