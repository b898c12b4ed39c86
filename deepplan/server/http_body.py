"""Reading a request's body: no more of it than is wanted, for no longer, compressed or not."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from deepplan.errors import InvalidInputError
from deepplan.server.deadlines import timeout
from deepplan.server.failures import EncodingError, SlowClientError, TooLargeError

# zlib's window bits: 16 more than the largest window is gzip; HTTP's "deflate" is zlib's own format (RFC 9110, 8.4.1).
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read_body(request: web.Request, limit_bytes: int, timeout_s: float) -> bytes:
    """The body, decompressed; `limit_bytes` holds before and after.

    Raises TooLargeError, EncodingError, SlowClientError, and InvalidInputError for a body that is broken.
    """
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise EncodingError("the body's Content-Encoding must be gzip, deflate or identity")
    if (request.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)
    try:
        if request.content.is_eof():  # a small one mostly comes with the head: no timer then
            body = request.content.read_nowait()
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
        else:
            async with timeout(timeout_s):
                body = await _read_on(request, limit_bytes)
    except asyncio.TimeoutError:
        raise SlowClientError(f"the body took longer than {timeout_s:g} s to come") from None
    except (ClientError, HttpProcessingError):  # wrong chunks, or fewer bytes than announced
        raise InvalidInputError("the body is broken off or badly framed") from None
    if encoding == "identity":
        return body
    return await asyncio.to_thread(_decompress, body, _WINDOW_BITS[encoding], limit_bytes)


async def _read_on(request: web.Request, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    while part := await request.content.readany():
        parts.append(part)
        size_bytes += len(part)
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _decompress(body: bytes, window_bits: int, limit_bytes: int) -> bytes:
    stream = zlib.decompressobj(window_bits)
    try:
        plain = stream.decompress(body, limit_bytes + 1)  # stops there, however far a small body would unfold
    except zlib.error as error:
        raise InvalidInputError(f"the body cannot be decompressed: {error}") from None
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    if not stream.eof or stream.unused_data:
        raise InvalidInputError("the compressed body breaks off, or something follows it")
    return plain


def _too_large(limit_bytes: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {limit_bytes} bytes, the most that is taken here")
