"""A server: both fronts in one event loop, from start to drained."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
from aiohttp import web

from deepplan.server.dashboard import OPEN_PATHS, add_dashboard
from deepplan.server.grpc_front import GrpcFront
from deepplan.server.http_front import HttpFront
from deepplan.server.listeners import listen_grpc, listen_http
from deepplan.server.log_lines import LogLine
from deepplan.server.service import Service
from deepplan.server.settings import ServerSettings
from deepplan.serving.inference import Engine

logger = logging.getLogger("deepplan.server")

_CLOSE_TIMEOUT_S = 1.0  # for answers that are being written when the server stops


class Server:
    """Serves one engine until it is stopped. Made and used in one event loop; the engine stays its owner's to close."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.settings = settings
        self.service = Service(engine, settings)
        self._http: web.AppRunner | None = None
        self._grpc: grpc.aio.Server | None = None
        self._http_port = 0
        self._grpc_port: int | None = None

    @property
    def http_port(self) -> int:
        """The port that HTTP listens on, once started."""
        return self._http_port

    @property
    def grpc_port(self) -> int | None:
        """The port that gRPC listens on, once started; None without gRPC."""
        return self._grpc_port

    async def start(self) -> None:
        """Listens; requests are taken as soon as the engine is ready. Raises InvalidInputError where it cannot."""
        settings = self.settings
        front = HttpFront(self.service, open_paths=OPEN_PATHS)
        add_dashboard(front.application, self.service)
        self._http, self._http_port = await listen_http(front.application, settings, _CLOSE_TIMEOUT_S)
        if settings.grpc_port is None:
            return
        try:
            handler = GrpcFront(self.service).handler()
            self._grpc, self._grpc_port = await listen_grpc(handler, settings, settings.grpc_port)
        except BaseException:
            await self.stop()
            raise

    async def drain(self) -> bool:
        """Refuses new requests; whether those under way have all ended within the settings' time."""
        return await self.service.drain(self.settings.drain_timeout_s)

    async def stop(self) -> None:
        """Closes every connection; requests that do not end in a moment are cancelled."""
        runner, server = self._http, self._grpc
        self._http = self._grpc = None
        closing = [] if server is None else [server.stop(_CLOSE_TIMEOUT_S)]
        closing += [] if runner is None else [runner.cleanup()]
        await asyncio.gather(*closing)

    async def run_until_signal(self, begin: Callable[[], Coroutine[Any, Any, None]] | None = None) -> bool:
        """Starts, waits for SIGTERM or SIGINT, drains and stops; a second signal cuts the draining short.

        `begin` makes the engine ready; it runs once clients can ask whether it is. What it raises stops the server and
        is raised again. False: a signal came before it had ended, and it has not ended yet.
        """
        loop = asyncio.get_running_loop()
        signals: asyncio.Queue[None] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signals.put_nowait, None)
        try:
            await self.start()
            logger.info(LogLine(event="listening", host=self.settings.host, http=self.http_port, grpc=self.grpc_port))
            signalled = asyncio.ensure_future(signals.get())
            beginning = None if begin is None else asyncio.ensure_future(begin())
            if beginning is not None:
                await asyncio.wait((signalled, beginning), return_when=asyncio.FIRST_COMPLETED)
                if beginning.done():
                    beginning.result()
            await signalled
            await self._drain_until(signals)
        finally:
            await self.stop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return beginning is None or beginning.done()

    async def _drain_until(self, signals: asyncio.Queue[None]) -> None:
        drain, again = asyncio.ensure_future(self.drain()), asyncio.ensure_future(signals.get())
        await asyncio.wait((drain, again), return_when=asyncio.FIRST_COMPLETED)
        if not (drain.done() and drain.result()):
            logger.warning(LogLine(event="stopping", under_way=self.service.under_way))
        drain.cancel()
        again.cancel()
