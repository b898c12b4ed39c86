"""Streams of messages: cut anywhere, in any sizes, and ended by the first that is none."""

import array
import asyncio
import socket
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepplan.errors import InvalidInputError
from deepplan.serving.connection import Connection, FrameReader
from deepplan.serving.inference import TensorData
from deepplan.serving.messages import PREFIX, Header, Message, encode

LARGE = 1 << 20


def tensor(size: int) -> TensorData:
    return TensorData("x", "UINT8", (size,), bytes(range(256)) * (size // 256) + bytes(size % 256))


def frame(number: int, size: int) -> bytes:
    return b"".join(encode({"id": number}, [tensor(size)]))


def read(stream: bytes, cuts: Iterator[int]) -> list[Message]:
    """The messages of a stream that comes in pieces of these sizes, no larger than there is space."""
    reader, messages, rest = FrameReader(), [], memoryview(stream)
    while rest:
        space = reader.space()
        count = min(next(cuts), len(space), len(rest))
        space[:count] = rest[:count]
        messages += reader.take(count)
        rest = rest[count:]
    return messages


@given(
    st.lists(st.sampled_from([0, 1, 4096, 250_000, LARGE]), max_size=6), st.lists(st.integers(1, 70_000), min_size=1)
)
def test_messages_survive_any_cuts(sizes: list[int], pieces: list[int]) -> None:
    def cuts() -> Iterator[int]:
        while True:
            yield from pieces
            yield LARGE

    stream = b"".join(frame(number, size) for number, size in enumerate(sizes))
    messages = read(stream, cuts())
    assert [header["id"] for header, _ in messages] == list(range(len(sizes)))
    assert [bytes(tensors[0].data) for _, tensors in messages] == [tensor(size).data for size in sizes]


def test_a_length_beyond_all_bounds_is_refused_at_once() -> None:
    for lengths in ((2**32 - 1, 0), (2, 2**64 - 1)):
        with pytest.raises(InvalidInputError, match="at most"):
            read(PREFIX.pack(*lengths), iter([PREFIX.size]))


def test_what_was_sent_before_the_end_arrives() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        arrived: list[tuple[int, bytes]] = []
        loop = asyncio.get_running_loop()

        def received(header: Header, tensors: tuple[TensorData, ...]) -> None:
            arrived.append((header["id"], bytes(tensors[0].data)))

        _, sender = await loop.create_unix_connection(lambda: Connection(lambda *message: None), sock=here)
        _, receiver = await loop.create_unix_connection(lambda: Connection(received), sock=there)
        sizes = [4096, 0, 5 * LARGE, 7, 300_000, *[100] * 50]
        for number, size in enumerate(sizes):
            sender.send({"id": number}, [tensor(size)])
        sender.close()
        await asyncio.wait_for(asyncio.gather(sender.lost, receiver.lost), 10)
        assert arrived == [(number, tensor(size).data) for number, size in enumerate(sizes)]
        sender.send({"id": 0}, [tensor(1)])

    asyncio.run(main())


class Ends:
    """Two ends in one loop: what `sender` sends arrives in `arrived` once `reading`, paused at first, is resumed; what
    `receiver` sends, in `answered`. Nothing may be logged."""

    def __init__(self) -> None:
        self.arrived: list[tuple[int, bytes]] = []
        self.answered: list[Header] = []
        self.logged: list[object] = []

    async def connect(self) -> None:
        here, there = socket.socketpair()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: self.logged.append(context))
        self.writing, self.sender = await loop.create_unix_connection(
            lambda: Connection(lambda header, tensors: self.answered.append(header)), sock=here
        )
        self.reading, self.receiver = await loop.create_unix_connection(lambda: Connection(self._received), sock=there)
        self.reading.pause_reading()

    def _received(self, header: Header, tensors: tuple[TensorData, ...]) -> None:
        self.arrived.append((header["id"], b"".join(tensor.data for tensor in tensors)))

    async def all_lost(self) -> None:
        await asyncio.wait_for(asyncio.gather(self.sender.lost, self.receiver.lost), 10)
        await asyncio.sleep(0.01)
        assert not self.logged


def test_a_backlog_arrives_in_order_and_is_not_copied_meanwhile() -> None:
    async def main() -> None:
        ends = Ends()
        await ends.connect()
        large = tensor(4 * LARGE)
        for number in range(40):
            ends.sender.send({"id": number}, [large])
        await asyncio.sleep(0.01)
        assert 0 < ends.writing.get_write_buffer_size() <= LARGE
        ends.reading.resume_reading()
        expected = [(number, large.data) for number in range(40)]
        sizes = [0, 300_000, 7, 2 * LARGE, 100]
        while len(ends.arrived) < len(expected):
            if ends.arrived and len(expected) < 60:  # more, in other turns, of which some find it unread
                given = tensor(sizes[len(expected) % len(sizes)])
                ends.sender.send({"id": len(expected)}, [given])
                expected.append((len(expected), given.data))
            assert ends.writing.get_write_buffer_size() <= LARGE
            await asyncio.sleep(0)
        assert len(expected) == 60 and ends.arrived == expected
        ends.sender.close()
        await ends.all_lost()

    asyncio.run(main())


@pytest.mark.parametrize("last", [0, 100, 250_000])  # the end of the last fits into a socket, or does not
def test_closing_still_delivers_a_backlog(last: int) -> None:
    async def main() -> None:
        ends = Ends()
        await ends.connect()
        given = [tensor(4 * LARGE)] * 10 + [tensor(last)]
        for number, one in enumerate(given):
            ends.sender.send({"id": number}, [one])
        ends.sender.close()
        ends.sender.send({"id": 99})
        ends.receiver.send({"id": 0})
        await asyncio.sleep(0.01)
        assert 0 < ends.writing.get_write_buffer_size() <= LARGE
        assert not ends.sender.lost.done()
        ends.reading.resume_reading()
        await ends.all_lost()
        assert ends.arrived == [(number, one.data) for number, one in enumerate(given)]
        assert not ends.answered

    asyncio.run(main())


def test_aborting_drops_a_backlog() -> None:
    async def main() -> None:
        ends = Ends()
        await ends.connect()
        data = memoryview(array.array("B", bytes(4 * LARGE)))
        held = weakref.ref(data.obj)
        for number in range(10):
            ends.sender.send({"id": number}, [TensorData("x", "UINT8", (len(data),), data)])
        ends.sender.close()
        ends.sender.abort()
        ends.reading.resume_reading()
        await ends.all_lost()
        assert not ends.arrived
        del data
        assert held() is None

    asyncio.run(main())


def test_a_backlog_is_dropped_when_the_other_end_is_gone() -> None:
    async def main() -> None:
        for closes in (False, True):
            ends = Ends()
            await ends.connect()
            for number in range(10):
                ends.sender.send({"id": number}, [tensor(4 * LARGE)])
            if closes:
                ends.sender.close()
            ends.receiver.abort()
            await ends.all_lost()
            assert not ends.arrived

    asyncio.run(main())


@pytest.mark.parametrize("hostile", [PREFIX.pack(2**31, 0), PREFIX.pack(3, 0) + b"{{{", frame(1, 1)])
def test_a_stream_that_cannot_be_read_on_is_ended(hostile: bytes) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        loop = asyncio.get_running_loop()
        logged: list[object] = []
        loop.set_exception_handler(lambda loop, context: logged.append(context["exception"]))

        def refuse(header: Header, tensors: tuple[TensorData, ...]) -> None:
            raise InvalidInputError("not this")

        with here:
            _, receiver = await loop.create_unix_connection(lambda: Connection(refuse), sock=there)
            here.sendall(hostile)
            await asyncio.wait_for(receiver.lost, 10)
            assert here.recv(1) == b""
        assert isinstance(logged[0], InvalidInputError)

    asyncio.run(main())
