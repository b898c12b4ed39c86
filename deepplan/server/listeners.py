"""Where the two fronts listen."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import grpc
from aiohttp import web

from deepplan.errors import InvalidInputError
from deepplan.server.settings import ServerSettings

# aiohttp's own complaints, with a traceback each, of clients that do not speak HTTP; handlers' failures are not there.
protocol_logger = logging.getLogger("deepplan.server.http")
protocol_logger.setLevel(logging.CRITICAL)

_SPARE_CALLS = 64
_MOST_BACKLOG = 4096  # what Linux cuts longer ones to


async def listen_http(
    application: web.Application, settings: ServerSettings, close_timeout_s: float
) -> tuple[web.AppRunner, int]:
    """A runner to clean up at the end, which then waits so long for handlers, and its port; raises InvalidInputError.

    A compressed body is left as it is, to be unfolded where its size is bounded; a client that leaves cancels its
    request; the request log is our own.
    """
    context = tls_context(settings)
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=protocol_logger,
        auto_decompress=False,
        handler_cancellation=True,
        shutdown_timeout=close_timeout_s,
        keepalive_timeout=settings.idle_timeout_s,
    )
    await runner.setup()
    try:
        await web.TCPSite(
            runner,
            settings.host,
            settings.http_port,
            ssl_context=context,
            backlog=min(settings.max_concurrent_requests, _MOST_BACKLOG),  # that many may come at a time
        ).start()
    except OSError as error:
        await runner.cleanup()
        raise _cannot_listen(settings.host, settings.http_port, error.strerror or str(error)) from None
    return runner, runner.addresses[0][1]


async def listen_grpc(
    handler: grpc.GenericRpcHandler, settings: ServerSettings, port: int
) -> tuple[grpc.aio.Server, int]:
    """A server to stop at the end, and its port; raises InvalidInputError."""
    options = [
        # Before 1.85 gRPC unfolded a compressed message whole, and looked at its size then.
        ("grpc.max_receive_message_length", min(settings.max_body_bytes, 2**31 - 1)),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # or a second server on the port would take half of the first one's requests
    ]
    # Messages are in memory before they are looked at; what asks for health comes through a while longer.
    most_calls = settings.max_concurrent_requests + _SPARE_CALLS
    server = grpc.aio.server(handlers=[handler], options=options, maximum_concurrent_rpcs=most_calls)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        if settings.certificate_file is None or settings.key_file is None:
            bound = server.add_insecure_port(f"{host}:{port}")
        else:
            pair = Path(settings.key_file).read_bytes(), Path(settings.certificate_file).read_bytes()
            bound = server.add_secure_port(f"{host}:{port}", grpc.ssl_server_credentials([pair]))
    except RuntimeError:
        raise _cannot_listen(settings.host, port, "gRPC does not say why") from None
    if bound == 0:  # how older versions of gRPC say it
        raise _cannot_listen(settings.host, port, "gRPC does not say why")
    await server.start()
    return server, bound


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """Of the settings' certificate, if there is one. Raises InvalidInputError."""
    if settings.certificate_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"cannot use certificate_file {settings.certificate_file} with key_file {settings.key_file}: {error}"
        ) from None
    return context


def _cannot_listen(host: str, port: int, why: str) -> InvalidInputError:
    return InvalidInputError(f"cannot listen on {host}:{port}: {why}; name another address")
