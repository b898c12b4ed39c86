"""Streams of messages: cut anywhere, in any sizes, and ended by the first that is none."""

import asyncio
import socket
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
