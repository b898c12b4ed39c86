"""How requests reach whoever answers them, and what becomes of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

from deepplan.serving.inference import ModelMetadata, TensorData

Inputs = tuple[TensorData, ...]


class Status(IntEnum):
    """What became of a request."""

    ANSWERED = 0
    REFUSED = 1  # at once, by admission: 429 or RESOURCE_EXHAUSTED
    FAILED = 2


@dataclass(frozen=True)
class Outcome:
    """What became of one request; `reason` says why it failed.

    The others are what the server says, None where it does not: whether it was a cold start, and how long the request
    waited and ran.
    """

    status: Status
    cold: bool | None = None
    queue_ms: float | None = None
    run_ms: float | None = None
    reason: str = ""


REFUSED = Outcome(Status.REFUSED)
_LONGEST_MS = 1e12


def answered(parameters: Mapping[str, object]) -> Outcome:
    """An answer with whatever parameters the server sent; those of other types than ours count as not sent."""
    cold = parameters.get("cold")
    return Outcome(
        Status.ANSWERED,
        cold if isinstance(cold, bool) else None,
        _time_ms(parameters.get("queue_ms")),
        _time_ms(parameters.get("run_ms")),
    )


def failed(reason: str) -> Outcome:
    """A failure; the reason is cut and put on one line, as many are counted by it."""
    return Outcome(Status.FAILED, reason=" ".join(reason.split())[:200])


@runtime_checkable
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


def _time_ms(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LONGEST_MS:
        return None
    return float(value)
