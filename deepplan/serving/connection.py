"""Messages over one socket, both ways, in one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from deepplan.serving.inference import TensorData
from deepplan.serving.messages import PREFIX, Header, Message, check_lengths, decode, encode

_BUFFER_BYTES = 256 << 10  # about what a socket hands over at a time

Received = Callable[[Header, tuple[TensorData, ...]], None]


class FrameReader:
    """Cuts a stream into messages. Many small ones come in one read and are copied out of its buffer; one larger than
    that is read to where it stays."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0
        self._large: memoryview | None = None
        self._large_header_bytes = 0

    def space(self) -> memoryview:
        """Where the next bytes of the stream are to be put; never empty."""
        return (self._buffer if self._large is None else self._large)[self._filled :]

    def take(self, count: int) -> list[Message]:
        """The messages that are complete with `count` more bytes in `space`. Raises InvalidInputError for what is
        none; the stream cannot be read on then."""
        self._filled += count
        if self._large is not None:
            return self._take_large(self._large)
        messages: list[Message] = []
        begin = 0
        while self._filled - begin >= PREFIX.size:
            header_bytes, payload_bytes = PREFIX.unpack_from(self._buffer, begin)
            check_lengths(header_bytes, payload_bytes)
            header = begin + PREFIX.size
            payload = header + header_bytes
            end = payload + payload_bytes
            if end > self._filled:
                if end - begin > _BUFFER_BYTES:
                    self._begin_large(header, header_bytes, payload_bytes)
                    return messages
                break
            messages.append(decode(self._buffer[header:payload], bytes(self._buffer[payload:end])))
            begin = end
        self._buffer[: self._filled - begin] = self._buffer[begin : self._filled]
        self._filled -= begin
        return messages

    def _begin_large(self, begin: int, header_bytes: int, payload_bytes: int) -> None:
        self._large = memoryview(bytearray(header_bytes + payload_bytes))
        self._large_header_bytes = header_bytes
        self._large[: self._filled - begin] = self._buffer[begin : self._filled]
        self._filled -= begin

    def _take_large(self, frame: memoryview) -> list[Message]:
        if self._filled < len(frame):
            return []
        self._large, self._filled = None, 0
        return [decode(frame[: self._large_header_bytes], frame[self._large_header_bytes :])]


class Connection(asyncio.BufferedProtocol):
    """One end. Of what is sent in one turn of the loop, the first is written at once and the rest together: a call of
    the kernel costs more than a message. Nothing waits for the other end to read: who sends bounds what is under way.
    Tensors are not copied when they are sent, and must stay as they are until they are written.

    A message that is malformed, or that `received` raises for, ends the connection; the loop logs why. `lost` is done
    from then on.
    """

    def __init__(self, received: Received) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = received
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._gathering = False
        self._paused = False
        self._closing = False
        self._unsent: deque[bytes | memoryview] = deque()
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def send(self, header: Header, tensors: Sequence[TensorData] = ()) -> None:
        """Raises InvalidInputError for what is too large or not as it says; of no effect once the other end is gone."""
        parts = encode(header, tensors)
        if self._closing or self._transport is None or self._transport.is_closing():
            return
        self._unsent += parts
        if not self._gathering:
            self._write()
            self._gather()

    def close(self) -> None:
        """Ends the connection once what was sent is written."""
        self._closing = True
        if self._transport is not None:
            self._transport.pause_reading()
        self._write()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # What the socket does not take, a transport copies; before Python 3.12 all of that again as it grows. With this
        # it says so at once, and so never holds more than a batch.
        transport.set_write_buffer_limits(0)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._gather()  # not written here: a transport that calls this cannot be closed by it

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        for header, tensors in self._reader.take(nbytes):
            self._received(header, tensors)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._unsent.clear()
        if not self.lost.done():
            self.lost.set_result(None)

    def _gather(self) -> None:
        """Has what is unsent by then written in the next turn of the loop."""
        if not self._gathering:
            self._gathering = True
            self._loop.call_soon(self._write_gathered)

    def _write_gathered(self) -> None:
        self._gathering = False
        self._write()

    def _write(self) -> None:
        """Writes one batch, if the socket takes any; more would keep the loop for as long as the other end reads."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._unsent and not self._paused:
            self._transport.write(self._take_batch())
        if not self._unsent:
            if self._closing:
                self._transport.close()
        elif not self._paused:
            self._gather()

    def _take_batch(self) -> bytes | memoryview:
        """The next that is unsent: small parts joined, and a piece of a large one as it is."""
        batch: list[bytes | memoryview] = []
        space = _BUFFER_BYTES
        while self._unsent and space:
            part = self._unsent.popleft()
            if len(part) > space:
                part = memoryview(part)
                self._unsent.appendleft(part[space:])
                part = part[:space]
            batch.append(part)
            space -= len(part)
        return batch[0] if len(batch) == 1 else b"".join(batch)
