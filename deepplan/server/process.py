"""A process that serves, from listening over registering its models to its end."""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from deepplan.server.hosts import is_loopback
from deepplan.server.log_lines import LogLine
from deepplan.server.server import Server
from deepplan.server.settings import ServerSettings
from deepplan.serving.inference import Engine

logger = logging.getLogger("deepplan.server")


class StartingEngine(Engine, Protocol):
    """An engine that has its models to register first."""

    async def start(self, report: Callable[[str, float], None]) -> None:
        """Registers them; `report` is told what was done and the share of all, from any thread."""

    async def close(self) -> None:
        """Gives everything back, whether or not it was started."""


async def serve_until_signal(engine: StartingEngine, settings: ServerSettings) -> None:
    """Listens, registers, serves until SIGTERM or SIGINT, drains and closes the engine. Raises DeepPlanError.

    A signal that comes while models are being registered ends the process at once, with exit code 0.
    """
    _allow_files()
    if settings.token is None and not is_loopback(settings.host):
        message = "whoever reaches this address may use the server; set a token"
        logger.warning(LogLine(event="unprotected", host=settings.host, message=message))
    try:
        if not await Server(engine, settings).run_until_signal(lambda: _register(engine)):
            _leave(engine)
    finally:
        await engine.close()


async def _register(engine: StartingEngine) -> None:
    begin = last = time.perf_counter()

    def report(done: str, share: float) -> None:
        nonlocal last
        now = time.perf_counter()
        logger.info(LogLine(event="registered", what=done, share=round(share, 3), took_s=round(now - last, 3)))
        last = now

    await engine.start(report)
    logger.info(LogLine(event="ready", models=len(engine.models), took_s=round(time.perf_counter() - begin, 3)))


def _leave(engine: StartingEngine) -> NoReturn:
    """Ends the process: the thread that registers cannot be interrupted, and Python would wait for it to end."""
    logger.warning(LogLine(event="stopping", registered=len(engine.models)))
    logging.shutdown()
    os._exit(0)


def _allow_files() -> None:
    """As many open files as the system lets this process have: each connection is one, and many systems begin with no
    more than 1024, for the sake of programs that use select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
