"""Many requests over one call of gRPC: they run side by side, and each is answered as it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc

from deepplan.server.failures import SlowClientError

MOST_UNDER_WAY = 64  # of one stream; the next request is not read before one of them is answered


async def answer_stream(context: Any, answer: Callable[[Any], Coroutine[Any, Any, Any]], idle_timeout_s: float) -> None:
    """Writes what `answer` makes of each request, which must not raise, until the client has no more.

    Raises SlowClientError where nothing is under way and no request comes for so long. However it ends, nothing that
    it began goes on.
    """
    reading: asyncio.Task[Any] | None = None
    running: set[asyncio.Task[Any]] = set()
    more = True
    try:
        while more or running:
            if more and reading is None and len(running) < MOST_UNDER_WAY:
                reading = asyncio.ensure_future(context.read())
            waited_for = running if reading is None else running | {reading}
            # The time is not that of a read: one that is given up may take the message with it.
            done, _ = await asyncio.wait(
                waited_for, timeout=None if running else idle_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise SlowClientError(f"no request came over the stream for {idle_timeout_s:g} s; open another")
            for task in done - {reading}:
                running.remove(task)
                await context.write(task.result())
            if reading is not None and reading in done:
                request, reading = reading.result(), None
                more = request is not grpc.aio.EOF
                if more:
                    running.add(asyncio.ensure_future(answer(request)))
    finally:
        left = running if reading is None else running | {reading}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
