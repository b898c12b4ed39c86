"""The thread between a server in C++ and an event loop."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable
from contextlib import suppress

from deepplan import _core
from deepplan.engine.precision import precision

_POLL_MS = 100


class AnswerThread:
    """Waits for a server's answers without the GIL and has the event loop that it is made in call `settle` with them.

    It lets go of the server when it ends, and the server, if nobody else holds it, waits for what runs. `dtype` is what
    torch is to compute products of fp32 tensors in meanwhile.
    """

    def __init__(
        self, server: _core.ModelServer, dtype: str | None, settle: Callable[[list[_core.Answer]], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settle = settle
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(server, dtype), name="deepplan answers", daemon=True)
        self._thread.start()
        # For who forgets to: a thread that is in the runtime as Python ends takes the process down.
        atexit.register(self.join)

    def join(self) -> None:
        """Ends it, and what runs with it. Answers that have not come by then never do."""
        self._ending.set()
        self._thread.join()
        atexit.unregister(self.join)

    def _run(self, server: _core.ModelServer, dtype: str | None) -> None:
        with precision(dtype):
            while not self._ending.is_set():
                answers = server.wait_answers(_POLL_MS)
                if answers:
                    with suppress(RuntimeError):  # the loop has ended: nobody waits
                        self._loop.call_soon_threadsafe(self._settle, answers)
