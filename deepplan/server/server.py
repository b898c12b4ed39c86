"""A server: both fronts in one event loop, from start to drained."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl

from aiohttp import web

from deepplan.errors import InvalidInputError
from deepplan.server.http_front import HttpFront
from deepplan.server.service import Service
from deepplan.server.settings import ServerSettings
from deepplan.serving.inference import Engine

logger = logging.getLogger("deepplan.server")

# aiohttp's own complaints, with a traceback each, of clients that do not speak HTTP; handlers' failures are not there.
protocol_logger = logging.getLogger("deepplan.server.http")
protocol_logger.setLevel(logging.CRITICAL)

_CLOSE_TIMEOUT_S = 2.0  # for answers that are being written when the server stops


class Server:
    """Serves one engine until it is stopped. Made and used in one event loop; the engine stays its owner's to close."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.settings = settings
        self.service = Service(engine, settings)
        self._runner: web.AppRunner | None = None
        self._http_port = 0

    @property
    def http_port(self) -> int:
        """The port that HTTP listens on, once started."""
        return self._http_port

    async def start(self) -> None:
        """Listens; requests are taken as soon as the engine is ready. Raises InvalidInputError where it cannot."""
        settings = self.settings
        context = None if settings.certificate_file is None else _tls_context(settings)
        front = HttpFront(self.service)
        # A compressed body is unfolded where its size is bounded, a client that leaves cancels its request, and the
        # request log is ours.
        self._runner = web.AppRunner(
            front.application,
            access_log=None,
            logger=protocol_logger,
            auto_decompress=False,
            handler_cancellation=True,
            shutdown_timeout=_CLOSE_TIMEOUT_S,
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, settings.host, settings.http_port, ssl_context=context).start()
        except OSError as error:
            await self.stop()
            where = f"{settings.host}:{settings.http_port}"
            raise InvalidInputError(f"cannot listen on {where}: {error.strerror}; name another address") from None
        self._http_port = self._runner.addresses[0][1]

    async def drain(self) -> bool:
        """Refuses new requests; whether those under way have all ended within the settings' time."""
        return await self.service.drain(self.settings.drain_timeout_s)

    async def stop(self) -> None:
        """Closes every connection; requests that are still under way are cancelled."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def run_until_signal(self) -> None:
        """Starts, waits for SIGTERM or SIGINT, drains and stops; a second signal cuts the draining short."""
        loop = asyncio.get_running_loop()
        signals: asyncio.Queue[None] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signals.put_nowait, None)
        try:
            await self.start()
            await signals.get()
            drain, again = asyncio.ensure_future(self.drain()), asyncio.ensure_future(signals.get())
            await asyncio.wait((drain, again), return_when=asyncio.FIRST_COMPLETED)
            if not (drain.done() and drain.result()):
                logger.warning("stopping with %d requests under way", self.service.under_way)
            drain.cancel()
            again.cancel()
        finally:
            await self.stop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def _tls_context(settings: ServerSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate_file or "", settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"cannot use certificate_file {settings.certificate_file} with key_file {settings.key_file}: {error}"
        ) from None
    return context
