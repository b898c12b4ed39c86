"""What is answered when a request fails: one table for HTTP and gRPC."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepplan.errors import (
    DeepPlanError,
    DeviceError,
    InvalidInputError,
    OverloadedError,
    RunError,
    ServingError,
    UnavailableError,
    UnknownNameError,
)


class UnauthorizedError(DeepPlanError):
    """The request does not carry the server's token."""


class ForeignOriginError(DeepPlanError):
    """A browser sends the request on behalf of a page that is not this server's."""


class TooLargeError(InvalidInputError):
    """The request is larger than the server, or the model, takes."""


class EncodingError(InvalidInputError):
    """The body is compressed in a way that is not understood."""


class SlowClientError(DeepPlanError):
    """The client took too long to send its request."""


class TimedOutError(ServingError):
    """The request took longer than the server's limit and was given up."""


@dataclass(frozen=True)
class Failure:
    """How a failed request is answered and counted.

    `grpc_code` is a name of `grpc.StatusCode`, `reason` is Triton's label of failed requests. `retry_after_s` is None
    where coming again is of no use, or nobody knows when it would be; `unexpected` is a defect of ours.
    """

    http_status: int
    grpc_code: str
    reason: str
    message: str
    retry_after_s: float | None = None
    unexpected: bool = False


# The first kind that an error is decides: a subclass stands before its base.
_KINDS: tuple[tuple[type[DeepPlanError], int, str, str], ...] = (
    (UnauthorizedError, 401, "UNAUTHENTICATED", "REJECTED"),
    (ForeignOriginError, 403, "PERMISSION_DENIED", "REJECTED"),
    (UnknownNameError, 404, "NOT_FOUND", "REJECTED"),
    (TooLargeError, 413, "RESOURCE_EXHAUSTED", "REJECTED"),
    (EncodingError, 415, "INVALID_ARGUMENT", "REJECTED"),
    (InvalidInputError, 400, "INVALID_ARGUMENT", "REJECTED"),
    (SlowClientError, 408, "DEADLINE_EXCEEDED", "REJECTED"),
    (OverloadedError, 429, "RESOURCE_EXHAUSTED", "REJECTED"),
    (UnavailableError, 503, "UNAVAILABLE", "OTHER"),
    (TimedOutError, 504, "DEADLINE_EXCEEDED", "OTHER"),
    (RunError, 500, "INTERNAL", "BACKEND"),
    (DeviceError, 500, "INTERNAL", "BACKEND"),
)


def failure_of(error: BaseException) -> Failure:
    """The answer to a request that ended in `error`; what is not raised on purpose is not shown to clients."""
    for kind, http_status, grpc_code, reason in _KINDS:
        if isinstance(error, kind):
            retry_after_s = getattr(error, "retry_after_s", math.inf)
            finite = retry_after_s if math.isfinite(retry_after_s) else None
            return Failure(http_status, grpc_code, reason, str(error), finite)
    return Failure(500, "INTERNAL", "OTHER", "the server failed; its log says how", unexpected=True)


CANCELED = Failure(499, "CANCELLED", "CANCELED", "the client gave the request up")
