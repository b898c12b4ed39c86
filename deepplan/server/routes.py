"""Routes on which aiohttp's own handling of `Expect` is left out.

That runs before any middleware, and fails with status 500 on a header that it cannot repeat in its answer.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler


def add_route(
    application: web.Application, path: str, *, get: Handler | None = None, post: Handler | None = None
) -> None:
    """Adds `path` with its handlers; other methods are answered that they are not allowed."""
    handlers = {hdrs.METH_GET: get, hdrs.METH_HEAD: get, hdrs.METH_POST: post}
    allowed = [method for method, handler in handlers.items() if handler is not None]

    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    resource = application.router.add_resource(path)
    for method, handler in handlers.items():
        if handler is not None:
            resource.add_route(method, handler, expect_handler=_expect)
    resource.add_route(hdrs.METH_ANY, refuse, expect_handler=_expect)


def add_not_found(application: web.Application) -> None:
    """Adds the answer to every path that has no other."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    application.router.add_route(hdrs.METH_ANY, "/{path:.+}", refuse, expect_handler=_expect)


async def _expect(request: web.Request) -> None:
    """Tells a client to go on that asks before it sends a body; others may be ignored (RFC 9110, 10.1.1)."""
    if request.version >= HttpVersion11 and request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer proper has not begun, which aiohttp sees by this
