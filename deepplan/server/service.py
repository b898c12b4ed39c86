"""What both fronts share: admission, the run in the engine, and the record of what became of each request."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from deepplan.errors import OverloadedError, ServingError, UnavailableError
from deepplan.server.deadlines import timeout
from deepplan.server.failures import CANCELED, TimedOutError, UnauthorizedError, failure_of
from deepplan.server.recent import Recent
from deepplan.server.repository import Repository
from deepplan.server.request_log import log_request
from deepplan.server.settings import ServerSettings
from deepplan.server.statistics import Statistics
from deepplan.server.tensors import Signature, check_version
from deepplan.serving.inference import Engine, EngineStatus, Inference, TensorData

_STATUS_TIMEOUT_S = 2.0  # an engine that is being restarted says nothing for longer


class Service:
    """One engine as clients see it."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.repository = Repository(engine)
        self.statistics = Statistics()
        self.recent = Recent()
        self.under_way = 0
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._authorization = None if settings.token is None else f"Bearer {settings.token}".encode()

    @property
    def ready(self) -> bool:
        """Whether requests are taken, of every model."""
        return self.engine.ready and not self.draining

    def model_ready(self, model: str, version: str = "") -> bool:
        """Whether requests of one model are taken; raises UnknownNameError."""
        return self.repository.ready(model, version) and not self.draining

    def statistics_json(self, model: str = "", version: str = "") -> list[dict[str, Any]]:
        """The statistics of one model, or of every one where none is named; raises UnknownNameError."""
        check_version(version)
        names = [model] if model else sorted(self.engine.models)
        if model:
            self.repository.check(model)
        return [self.statistics.of(name).to_json(name) for name in names]

    async def unload(self, model: str) -> None:
        """As `Repository.unload`; raises TimedOutError where the engine does not answer: requests are refused all the
        same."""
        limit_s = self.settings.request_timeout_s
        try:
            async with timeout(limit_s):
                await self.repository.unload(model)
        except asyncio.TimeoutError:
            raise TimedOutError(
                f"{model} is refused from now on, but no engine has evicted it in {limit_s:g} s"
            ) from None

    async def engine_status(self) -> EngineStatus | None:
        """What the engine says of itself; None where it does not, or not soon."""
        try:
            async with timeout(_STATUS_TIMEOUT_S):
                return await self.engine.status()
        except (asyncio.TimeoutError, ServingError):
            return None

    def check_token(self, authorization: str | None) -> None:
        """Raises UnauthorizedError unless the header is right; how long that takes does not tell how wrong it is."""
        if self._authorization is None:
            return
        sent = (authorization or "").encode(errors="surrogateescape")
        if not hmac.compare_digest(sent, self._authorization):
            self.statistics.refused["unauthenticated"] += 1
            raise UnauthorizedError("this server wants its token: Authorization: Bearer TOKEN")

    def exchange(self, protocol: str, model: str, version: str, traceparent: str | None) -> Exchange:
        """One inference request, from when its head is here until its answer is written; a context manager."""
        return Exchange(self, protocol, model, version, traceparent)

    def enter(self) -> None:
        """Takes a place among the requests under way; raises UnavailableError or OverloadedError."""
        if self.draining:
            raise UnavailableError("the server is shutting down")
        if self.under_way >= self.settings.max_concurrent_requests:
            raise OverloadedError(f"{self.under_way} requests are under way, which is the server's limit", 1.0)
        self.under_way += 1
        self._idle.clear()

    def leave(self) -> None:
        """Gives the place up."""
        self.under_way -= 1
        if self.under_way == 0:
            self._idle.set()

    async def drain(self, timeout_s: float) -> bool:
        """Takes no more requests; whether those under way have ended within the time."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True


class Exchange:
    """See `Service.exchange`; whatever it ends in is counted and logged."""

    __slots__ = (
        "_admitted", "_inference", "_model", "_protocol", "_run_end_ns", "_run_start_ns", "_service", "_start_ns",
        "_version", "traceparent",
    )  # fmt: skip

    def __init__(self, service: Service, protocol: str, model: str, version: str, traceparent: str | None) -> None:
        self._service = service
        self._protocol = protocol
        self._model = model
        self._version = version
        self.traceparent = traceparent
        self._admitted: Signature | None = None
        self._inference: Inference | None = None

    def __enter__(self) -> Exchange:
        self._start_ns = time.perf_counter_ns()
        return self

    def admit(self) -> Signature:
        """How the model is to be called; raises what `Service.enter` and `Repository.signature` raise."""
        signature = self._service.repository.signature(self._model, self._version)
        self._service.enter()
        self._admitted = signature
        self._service.statistics.of(self._model).pending += 1
        return signature

    async def run(self, inputs: Sequence[TensorData]) -> Inference:
        """The engine's answer; raises what `Engine.infer` raises, and TimedOutError."""
        limit_s = self._service.settings.request_timeout_s
        self._run_start_ns = time.perf_counter_ns()
        try:
            async with timeout(limit_s):
                self._inference = await self._service.engine.infer(self._model, inputs, self.traceparent)
        except asyncio.TimeoutError:
            raise TimedOutError(f"the request took longer than {limit_s:g} s, which is the server's limit") from None
        self._run_end_ns = time.perf_counter_ns()
        return self._inference

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end_ns = time.perf_counter_ns()
        total_ns = end_ns - self._start_ns
        service, known = self._service, self._admitted is not None
        if known:
            service.statistics.of(self._model).pending -= 1
            service.leave()
        if self._inference is not None:
            service.statistics.record_run(self._model, self._inference)
        failure = None
        if error is not None:
            failure = CANCELED if isinstance(error, asyncio.CancelledError) else failure_of(error)
            service.statistics.record_failure(self._model if known else None, failure, total_ns)
        elif self._inference is not None:
            input_ns, output_ns = self._run_start_ns - self._start_ns, end_ns - self._run_end_ns
            service.statistics.record_success(self._model, self._inference, total_ns, input_ns, output_ns)
            service.recent.record(self._model, self._inference, total_ns / 1e6)
        if service.settings.log_requests:
            log_request(self._protocol, self._model, self.traceparent, total_ns / 1e6, self._inference, failure)
