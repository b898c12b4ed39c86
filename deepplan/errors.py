"""Every error deepplan raises on purpose.

Each message names the offending value and the remedy, so that a command line can print it as it is. All derive from
`DeepPlanError`: catching that catches what deepplan itself refuses, and nothing that is a defect of ours.
"""

from __future__ import annotations


class DeepPlanError(Exception):
    """Base of all of deepplan's own errors."""


class InvalidInputError(DeepPlanError, ValueError):
    """An argument or a model input is not acceptable: wrong shape, dtype, device, or a number out of its range."""


class UnknownNameError(InvalidInputError):
    """A name (model, engine, policy, machine) that does not exist; the message lists those that do."""


class DocumentError(DeepPlanError):
    """A plan, profile, graph or weights file that cannot be read: truncated, edited by hand, or not one at all."""


class MismatchError(DeepPlanError):
    """A sound document that belongs to another model, machine or torch than the one at hand."""


class ExportError(DeepPlanError):
    """A model that cannot be turned into a graph; the message names the operator or the line."""


class DeviceError(DeepPlanError):
    """A device that is not there, named twice, or that failed."""


class OutOfMemoryError(DeviceError):
    """Not enough device or pinned host memory; the message says how much was asked for and how much there is."""


class BuildError(DeepPlanError):
    """The compiled core is missing or was built against another torch than the one installed."""


class ServingError(DeepPlanError):
    """A request that was not answered, for no fault in it; the message says why."""


class OverloadedError(ServingError):
    """Refused at once, because it would have been answered after its objective.

    If no other request came, it would be accepted in `retry_after_s`; infinity: it takes longer by itself.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(ServingError):
    """Nobody can take the request now: models are being registered, the server drains, the engine was lost."""


class RunError(ServingError):
    """The model failed while it ran the request."""
