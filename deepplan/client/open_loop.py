"""Sends a workload open-loop: every request when it is due, whatever became of those before.

A latency counts from when the request was due. So a server that stalls is charged for the requests that would have
come meanwhile, and so is this generator when it is late itself: it cannot make a server look better than it is.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from deepplan.client.requests import COLD_UNKNOWN, Requests
from deepplan.client.transport import Outcome, Status, Target, Transport, failed
from deepplan.errors import InvalidInputError
from deepplan.serving.arrivals import Arrivals

MAX_CONCURRENT = 1000
TIMEOUT_S = 30.0

_LEAD_S = 0.05  # the first request is due after the loop has settled
_MAX_REASONS = 20  # reasons may quote servers, and a server may never say the same twice
_REPORT_EVERY_S = 0.1


async def send_workload(
    transport: Transport,
    arrivals: Arrivals,
    targets: Sequence[Target],
    *,
    timeout_s: float = TIMEOUT_S,
    max_concurrent: int = MAX_CONCURRENT,
    report: Callable[[float], None] = lambda share: None,
) -> Requests:
    """Sends every arrival to its target and returns when all are answered, or given up after `timeout_s`.

    A request that is due while `max_concurrent` are under way is not sent and counts as failed: sent later, it would
    have been another workload. `report` takes the share of the workload that was sent. Memory is bounded by the number
    of arrivals, 34 bytes each, and by `max_concurrent`. Raises InvalidInputError if the targets are not the workload's.
    """
    if arrivals.instance_count != len(targets):
        raise InvalidInputError(
            f"arrivals are of {arrivals.instance_count} instances and there are {len(targets)} targets; make them equal"
        )
    sender = _Sender(transport, arrivals, targets, timeout_s, max_concurrent)
    try:
        await sender.send_all(report)
    finally:
        sender.cancel()
    return sender.requests()


class _Sender:
    def __init__(
        self,
        transport: Transport,
        arrivals: Arrivals,
        targets: Sequence[Target],
        timeout_s: float,
        max_concurrent: int,
    ) -> None:
        count = len(arrivals)
        self._transport, self._arrivals, self._targets = transport, arrivals, targets
        self._timeout_s, self._max_concurrent = timeout_s, max_concurrent
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[None]] = set()
        self._latency_ms = np.full(count, math.nan)
        self._send_lag_ms = np.full(count, math.nan, np.float32)
        self._queue_ms, self._run_ms = (np.full(count, math.nan, np.float32) for _ in range(2))
        self._status = np.full(count, Status.FAILED, np.int8)
        self._cold = np.full(count, COLD_UNKNOWN, np.int8)
        self._reasons: Counter[str] = Counter()
        self._not_sent = failed(f"not sent: {max_concurrent} requests were under way")
        self._timed_out = failed(f"no answer in {timeout_s:g} s")

    async def send_all(self, report: Callable[[float], None]) -> None:
        time, start_s, reported_s = self._loop.time, self._loop.time() + _LEAD_S, 0.0
        for index, time_ms in enumerate(self._arrivals.times_ms.data):
            due_s = start_s + time_ms / 1e3
            # Also where it is late already: answers must be read meanwhile.
            await asyncio.sleep(max(due_s - time(), 0.0))
            if time() - reported_s >= _REPORT_EVERY_S:
                reported_s = time()
                report(time_ms / self._arrivals.duration_ms)
            if len(self._under_way) >= self._max_concurrent:
                self._record(index, due_s, self._not_sent)
                continue
            task = self._loop.create_task(self._send(index, due_s))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.sleep(max(start_s + self._arrivals.duration_ms / 1e3 - time(), 0.0))
        if self._under_way:
            await asyncio.wait(self._under_way)
        report(1.0)

    async def _send(self, index: int, due_s: float) -> None:
        self._send_lag_ms[index] = (self._loop.time() - due_s) * 1e3
        task = asyncio.current_task()
        assert task is not None
        given_up = self._loop.call_at(due_s + self._timeout_s, task.cancel)
        target = self._targets[self._arrivals.instances[index]]
        try:
            outcome = await self._transport.infer(target.name, target.inputs)
        except asyncio.CancelledError:
            outcome = self._timed_out
        except Exception as error:  # one request, or an engine's defect, must not end the measurement
            outcome = failed(f"{type(error).__name__}: {error}")
        finally:
            given_up.cancel()
        self._record(index, due_s, outcome)

    def _record(self, index: int, due_s: float, outcome: Outcome) -> None:
        self._status[index] = outcome.status
        if outcome.status == Status.ANSWERED:
            self._latency_ms[index] = (self._loop.time() - due_s) * 1e3
            self._cold[index] = COLD_UNKNOWN if outcome.cold is None else outcome.cold
            self._queue_ms[index] = math.nan if outcome.queue_ms is None else outcome.queue_ms
            self._run_ms[index] = math.nan if outcome.run_ms is None else outcome.run_ms
        elif outcome.status == Status.FAILED:
            known = outcome.reason in self._reasons or len(self._reasons) < _MAX_REASONS
            self._reasons[outcome.reason if known else "other reasons"] += 1

    def cancel(self) -> None:
        for task in self._under_way:
            task.cancel()

    def requests(self) -> Requests:
        return Requests(
            times_ms=self._arrivals.times_ms,
            instances=self._arrivals.instances,
            latency_ms=self._latency_ms,
            send_lag_ms=self._send_lag_ms,
            queue_ms=self._queue_ms,
            run_ms=self._run_ms,
            status=self._status,
            cold=self._cold,
            models=[target.model for target in self._targets],
            duration_ms=self._arrivals.duration_ms,
            reasons=dict(self._reasons.most_common()),
            measured=True,
        )
