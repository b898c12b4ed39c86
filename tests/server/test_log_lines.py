"""What becomes of log records of either kind."""

from __future__ import annotations

import io
import json
import logging

import pytest

from deepplan.server.log_lines import LogLine, write_log


@pytest.fixture
def written():
    logger = logging.getLogger("deepplan.server")
    before = logger.handlers, logger.level, logger.propagate
    stream = io.StringIO()
    write_log(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_each_record_is_one_object(written) -> None:
    logger = logging.getLogger("deepplan.server")
    logger.info(LogLine(event="infer", model='a\n"b"', status=200))
    logger.debug("not shown")
    try:
        raise KeyError("a defect")
    except KeyError:
        logging.getLogger("deepplan.server.part").exception("it failed %d times", 3)
    first, second = written()
    assert first.pop("time")[-1] == "Z"
    assert first == {"level": "INFO", "event": "infer", "model": 'a\n"b"', "status": 200}
    assert (second["level"], second["message"]) == ("ERROR", "it failed 3 times")
    assert second["traceback"].endswith("KeyError: 'a defect'")


def test_a_line_is_json_in_any_log() -> None:
    assert json.loads(str(LogLine(status=200, error="no"))) == {"status": 200, "error": "no"}
