"""An event loop whose timers are as exact as the kernel's.

asyncio waits by epoll, in whole milliseconds: every request would be sent up to 1 ms late, and its latency, which
counts from when it was due, would be that much longer.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


_SELECT_BELOW = 1024  # select(2) knows no higher descriptors


class PreciseSelector(selectors.EpollSelector):
    """Waits in microseconds: an epoll can itself be waited for, by select(2). In milliseconds where it is made with so
    many files open that it cannot."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0 and self.fileno() < _SELECT_BELOW:
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end, as asyncio.run does, with precise timers; whatever it left running is cancelled.

    An interruption cancels `main` and then raises KeyboardInterrupt. Raised where it happens to come, in a callback
    from a C library for example, it could be lost.
    """
    loop = asyncio.SelectorEventLoop(PreciseSelector())
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        task.cancel()

    try:
        task = loop.create_task(main)
        if _is_interruptible():
            loop.add_signal_handler(signal.SIGINT, interrupt)
        return loop.run_until_complete(task)
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if left := asyncio.all_tasks(loop):
            for each in left:
                each.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()  # and SIGINT is handled as before


def _is_interruptible() -> bool:
    """Whether signals come to this thread, and an interruption is nobody else's."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
