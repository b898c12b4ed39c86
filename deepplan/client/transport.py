"""How requests reach whoever answers them, and what becomes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from deepplan.serving.inference import ModelMetadata, TensorData

Inputs = tuple[TensorData, ...]


class Status(IntEnum):
    """What became of a request."""

    ANSWERED = 0
    REFUSED = 1  # at once, by admission: 429 or RESOURCE_EXHAUSTED
    FAILED = 2


@dataclass(frozen=True)
class Outcome:
    """What became of one request; `cold` is None where the server does not say, `reason` says why it failed."""

    status: Status
    cold: bool | None = None
    reason: str = ""


REFUSED = Outcome(Status.REFUSED)
_ANSWERED = {cold: Outcome(Status.ANSWERED, cold) for cold in (None, False, True)}


def answered(cold: object) -> Outcome:
    """An answer whose `cold` is whatever the server sent under that name."""
    return _ANSWERED[cold if isinstance(cold, bool) else None]


def failed(reason: str) -> Outcome:
    """A failure; the reason is cut and put on one line, as many are counted by it."""
    return Outcome(Status.FAILED, reason=" ".join(reason.split())[:200])


class Transport(Protocol):
    """A way to a server. One event loop calls it."""

    async def metadata(self, model: str) -> ModelMetadata:
        """How the instance `model` is called. Raises UnknownNameError, or ServingError where nobody can say."""

    async def infer(self, model: str, inputs: Inputs) -> Outcome:
        """Sends one request and waits for its answer; failures are outcomes. Cancelling gives the request up.

        The tensors' data are `bytes`: transports encode the same inputs once and find the result by value.
        """


@dataclass(frozen=True)
class Target:
    """An instance that requests go to: its name, the model it is one of, and what it is sent."""

    name: str
    model: str
    inputs: Inputs


def instances_of(targets: Sequence[Target]) -> dict[str, int]:
    """How many instances each model has, in the order of their first."""
    counts: dict[str, int] = {}
    for target in targets:
        counts[target.model] = counts.get(target.model, 0) + 1
    return counts
