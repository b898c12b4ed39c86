"""The engine that serves models in a process of its own, and starts it again when it crashes."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deepplan.errors import UnavailableError, UnknownNameError
from deepplan.serving.deployment import Deployment
from deepplan.serving.engine_child import EngineChild
from deepplan.serving.inference import EngineStatus, Inference, ModelMetadata, TensorData
from deepplan.serving.kept_file import KeptFile
from deepplan.serving.messages import Header, answer_of, error_of, read, status_of
from deepplan.serving.restarting import RestartPolicy

logger = logging.getLogger("deepplan.serving")

Report = Callable[[str, float], None]  # what was done, and the share of all work

_REGISTERING = "models are still being registered; try again when the server is ready"
_LOST = "the engine's process has ended; try again in a moment"
_CLOSED = "the engine is closed"


@dataclass(slots=True)
class _Call:
    """What the process was asked and has not answered; `lives` is how many processes it may yet be asked of."""

    header: Header
    tensors: Sequence[TensorData]
    answered: asyncio.Future[Any]
    lives: int


class ProcessEngine:
    """An `Engine` (`deepplan.serving.inference`). Made, started and used in one event loop; `close` it in the end.

    Models lie in memory that this process keeps for the next one. Requests that are under way when the process crashes
    are asked once more of that; meanwhile, and when that has failed too often, others get UnavailableError.
    """

    def __init__(
        self,
        deployment: Deployment,
        folder: Path | None = None,
        *,
        restarting: RestartPolicy | None = None,
        close_timeout_s: float = 30.0,
    ) -> None:
        self.deployment = deployment
        self._folder = folder
        self._restarting = restarting or RestartPolicy()
        self._close_timeout_s = close_timeout_s
        self._kept = KeptFile()
        self._models: dict[str, ModelMetadata] = {}
        self._child: EngineChild | None = None
        self._unavailable: str | None = _REGISTERING  # why requests are not taken
        self._closed = False
        self._calls: dict[int, _Call] = {}
        self._numbers = itertools.count()
        self._supervisor: asyncio.Task[None] | None = None
        self._restarts = 0

    @property
    def ready(self) -> bool:
        return self._unavailable is None and self._child is not None and self._child.ready

    @property
    def models(self) -> Mapping[str, ModelMetadata]:
        return MappingProxyType(self._models)

    @property
    def pid(self) -> int | None:
        """The process's number while there is one."""
        return None if self._child is None else self._child.pid

    async def start(self, report: Report = lambda done, share: None) -> None:
        """Brings every model into pinned host memory, in a new process. `report` is called in the event loop. Raises
        DeepPlanError: what registration raises, or UnavailableError if the process ends over it."""
        child = await self._begin(report)
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(child))

    async def infer(self, model: str, inputs: Sequence[TensorData], traceparent: str | None = None) -> Inference:
        if not self.ready:
            raise UnavailableError(self._unavailable or _LOST)
        request = {"kind": "infer", "model": model, "traceparent": traceparent}
        answer: Inference = await self._ask(request, inputs, lives=2)
        return answer

    async def evict(self, model: str) -> None:
        if model not in self._models:
            raise UnknownNameError(f"no model {model!r:.80} is served here")
        if self.ready:
            with suppress(UnavailableError):  # with its process, a model leaves GPU memory
                await self._ask({"kind": "evict", "model": model})

    async def status(self) -> EngineStatus:
        """What the process says of itself, counted from its own start; nothing while there is none but `restarts`."""
        if self.ready:
            with suppress(UnavailableError):
                status: EngineStatus = await self._ask({"kind": "status"})
                return replace(status, restarts=self._restarts)
        return EngineStatus((), 0, 0, 0, {}, self._restarts)

    async def close(self) -> None:
        """Answers what is under way, for as long as `close_timeout_s`, and ends the process; whoever still waits then
        gets UnavailableError."""
        self._closed, self._unavailable = True, _CLOSED
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait((self._supervisor,))
        if self._child is not None:
            await self._child.close(self._close_timeout_s)
            self._child = None
        self._kept.close()
        self._refuse(_CLOSED)

    async def _begin(self, report: Report) -> EngineChild:
        """A process that is ready, asked what the one before it left unanswered."""
        if self._closed:
            raise UnavailableError(_CLOSED)

        def progress(models: Sequence[ModelMetadata], done: str, share: float) -> None:
            self._models.update((model.name, model) for model in models)
            report(done, share)

        child = self._child = EngineChild(self._received, progress)
        try:
            await child.start(self.deployment, self._folder, self._kept)
            if self._closed:
                await child.kill()
                raise UnavailableError(_CLOSED)
        except BaseException:
            self._child = None
            raise
        for call in self._calls.values():
            self._send(child, call)
        self._unavailable = None
        return child

    async def _supervise(self, child: EngineChild) -> None:
        """Starts the process again whenever it ends, until that is of no use."""
        crashed_s: deque[float] = deque(maxlen=self._restarting.max_crashes)
        trouble = await self._until_ended(child)
        while True:
            self._child, self._unavailable = None, f"{trouble}; another is being started, try again soon"
            self._refuse(f"{trouble}, as did the one before it, with this request under way", lives=0)
            crashed_s.append(asyncio.get_running_loop().time())
            delay_s = self._restarting.delay_s(crashed_s)
            if delay_s is None:
                break
            logger.error("%s; starting another in %g s, with %d requests kept", trouble, delay_s, len(self._calls))
            await asyncio.sleep(delay_s)
            self._restarts += 1
            try:
                child = await self._begin(lambda done, share: None)
                logger.warning("the engine's process is now %s, and ready", child.pid)
                trouble = await self._until_ended(child)
            except Exception as error:
                trouble = str(error)
        self._unavailable = f"the engine crashed {len(crashed_s)} times in a short time and was given up"
        self._refuse(self._unavailable)
        logger.critical("%s, at last because %s; start the server again", self._unavailable, trouble)

    async def _until_ended(self, child: EngineChild) -> str:
        """How the process went, which is ended if it or what it runs hangs."""
        watch = asyncio.get_running_loop().create_task(self._end_if_hung(child))
        try:
            return f"the engine's process {await child.ended()}"
        finally:
            watch.cancel()

    async def _end_if_hung(self, child: EngineChild) -> None:
        silence_s = self._restarting.silence_s
        while True:
            await asyncio.sleep(silence_s / 2)
            ping = asyncio.ensure_future(self._ask({"kind": "ping"}))
            try:
                for _ in range(2):  # where this process itself stood still, the answer lies there and is read now
                    await asyncio.wait((ping,), timeout=silence_s / 2)
                if not ping.done():
                    trouble = f"has answered nothing for {silence_s:g} s"
                elif isinstance(ping.exception(), UnavailableError):
                    return  # it has ended by itself
                elif ping.result() > silence_s:
                    trouble = f"runs what should have ended {ping.result():.0f} s ago"
                else:
                    continue
                logger.error("the engine's process %s and is ended", trouble)
                await child.kill()
                return
            finally:
                ping.cancel()

    async def _ask(self, header: Header, tensors: Sequence[TensorData] = (), lives: int = 1) -> Any:
        """What the process answers. Raises what it raised, and UnavailableError when it ends and no life is left."""
        assert self._child is not None
        number = next(self._numbers)
        header["id"] = number
        call = _Call(header, tensors, asyncio.get_running_loop().create_future(), lives)
        self._send(self._child, call)
        self._calls[number] = call
        try:
            return await call.answered
        except asyncio.CancelledError:
            if self._child is not None:
                self._child.send({"kind": "cancel", "id": number})
            raise
        finally:
            del self._calls[number]

    def _send(self, child: EngineChild, call: _Call) -> None:
        child.send(call.header, call.tensors)
        call.lives -= 1

    def _received(self, header: Header, tensors: tuple[TensorData, ...]) -> None:
        call = self._calls.get(read(int, header.get("id"), "id"))
        if call is None or call.answered.done():
            return  # whoever asked has given up
        if header["kind"] == "error":
            call.answered.set_exception(error_of(header))
        elif "answer" in header:
            call.answered.set_result(answer_of(header["answer"], tensors))
        elif "overdue_s" in header:
            call.answered.set_result(read(float, header["overdue_s"], "overdue_s"))
        elif "status" in header:
            call.answered.set_result(status_of(header["status"]))
        else:
            call.answered.set_result(None)

    def _refuse(self, why: str, lives: int | None = None) -> None:
        """Those that wait for an answer; all, or those with so many lives left."""
        for call in self._calls.values():
            if lives in (None, call.lives) and not call.answered.done():
                call.answered.set_exception(UnavailableError(why))
