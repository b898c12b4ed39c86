"""Log records as lines of JSON."""

from __future__ import annotations

import json
import logging
import time
from typing import TextIO


class LogLine(dict[str, object]):
    """A message of named values; as text it is JSON, whoever writes it."""

    def __str__(self) -> str:
        return json.dumps(self)


class LineFormatter(logging.Formatter):
    """Every record becomes one object on one line: a LogLine's values, or the `message`, and when and how grave."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname}
        line |= record.msg if isinstance(record.msg, LogLine) else {"message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def write_log(stream: TextIO) -> None:
    """Writes what the server and its engine log to `stream`, and nowhere else, from level INFO on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    for name in ("deepplan.server", "deepplan.serving"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
