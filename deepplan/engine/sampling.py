"""Repeated runs of one plan, with and without clocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from deepplan import _core
from deepplan.engine.precision import precision

MAX_CLOCK_MS = 0.003  # what one clock in a stream can cost a layer; more is noise

Report = Callable[[float], None]  # the share of the work that is done


@dataclass(frozen=True)
class Sample:
    """Medians over repeated cold runs of one plan; spreads between the 10th and the 90th percentile.

    `groups_ms` are start and end of each group's copy; `latency_ms` is of runs without clocks, by the host's clock.
    """

    layers_ms: tuple[float, ...]
    layers_spread_ms: tuple[float, ...]
    groups_ms: tuple[tuple[float, float], ...]
    latency_ms: float


class Sampler:
    """Runs one session on fixed inputs. Repeats adapt, so that each sample takes about `budget_s`."""

    def __init__(
        self, session: _core.Session, inputs: Sequence[torch.Tensor], dtype: str | None, target: str, budget_s: float
    ) -> None:
        self._session = session
        self._inputs = list(inputs)
        self._dtype = dtype
        self._target = target
        self._budget_s = budget_s

    def sample(self, plan: _core.ExecutionPlan, report: Report, *, busy_link: bool = False) -> Sample:
        """Cold runs of `plan`; with `busy_link` while other copies fill the target's own link."""
        self._session.rebind(plan)
        self._session.set_background_load(busy_link)
        try:
            return self._sample(report)
        finally:
            self._session.set_background_load(False)

    def warm_ms(self) -> float:
        """Latency in ms of a run with everything resident that the current plan loads."""
        self._run()
        repeats = self._repeats(self._run(), share=0.25)
        return statistics.median(self._run() for _ in range(repeats))

    def _sample(self, report: Report) -> Sample:
        once_ms = self._cold_run()
        if self._target != "cpu":
            once_ms = self._cold_run()  # the first run of all pays what only first runs cost
        repeats = self._repeats(once_ms, share=0.5)
        plain_ms: list[float] = []
        clocked_ms: list[float] = []
        times: list[_core.RunTimes] = []
        for index in range(repeats):
            plain_ms.append(self._cold_run())
            self._session.set_timed(True)
            clocked_ms.append(self._cold_run())
            measured = self._session.last_times()
            assert measured is not None  # the run was timed
            times.append(measured)
            self._session.set_timed(False)
            report((index + 1) / repeats)
        latency_ms = statistics.median(plain_ms)
        clock_ms = (statistics.median(clocked_ms) - latency_ms) / max(1, len(times[0].layers))
        return _summarise(times, min(max(0.0, clock_ms), MAX_CLOCK_MS), latency_ms)

    def _repeats(self, once_ms: float, share: float) -> int:
        fitting = share * self._budget_s * 1e3 / max(once_ms, 1e-3)
        return int(min(20, max(fitting, 3 if once_ms < 500 else 1)))

    def _cold_run(self) -> float:
        self._session.evict()
        self._synchronize()
        return self._run()

    def _run(self) -> float:
        with precision(self._dtype):
            started = time.perf_counter()
            self._session.run(self._inputs)
            self._synchronize()
            return (time.perf_counter() - started) * 1e3

    def _synchronize(self) -> None:
        """Waits for the stream that runs the model; a background load goes on."""
        if self._target != "cpu":
            torch.cuda.current_stream(self._target).synchronize()


def _summarise(times: Sequence[_core.RunTimes], clock_ms: float, latency_ms: float) -> Sample:
    by_layer = zip(*([layer.end_ms - layer.start_ms for layer in run.layers] for run in times))
    ordered = [sorted(samples) for samples in by_layer]
    tenth = len(times) // 10
    return Sample(
        layers_ms=tuple(max(0.0, statistics.median(samples) - clock_ms) for samples in ordered),
        layers_spread_ms=tuple(max(0.0, samples[len(samples) - 1 - tenth] - samples[tenth]) for samples in ordered),
        groups_ms=tuple(
            (statistics.median(group.start_ms for group in runs), statistics.median(group.end_ms for group in runs))
            for runs in zip(*(run.groups for run in times))
        ),
        latency_ms=latency_ms,
    )
