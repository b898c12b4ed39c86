"""One line of JSON a request, on the logger `deepplan.server`."""

from __future__ import annotations

import logging

from deepplan.server.failures import Failure
from deepplan.server.log_lines import LogLine
from deepplan.serving.inference import Inference

logger = logging.getLogger("deepplan.server")

_NAME_SHOWN = 80


def log_request(
    protocol: str,
    model: str,
    traceparent: str | None,
    total_ms: float,
    inference: Inference | None,
    failure: Failure | None,
) -> None:
    """Writes what became of one request: at level INFO, or WARNING where the server is to blame."""
    level = logging.WARNING if failure is not None and failure.http_status >= 500 else logging.INFO
    if not logger.isEnabledFor(level):
        return
    line = LogLine(
        event="infer",
        protocol=protocol,
        model=model[:_NAME_SHOWN],
        status=200 if failure is None else failure.http_status,
        total_ms=round(total_ms, 3),
    )
    if traceparent is not None:
        line["traceparent"] = traceparent
    if failure is not None:
        line["error"] = failure.message
    elif inference is not None:
        line["queue_ms"] = round(inference.queue_ms, 3)
        line["run_ms"] = round(inference.run_ms, 3)
        line["gpu"] = inference.gpu
        line["cold"] = inference.cold
        line["batch_size"] = inference.batch_size
    logger.log(level, line)
