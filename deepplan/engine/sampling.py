"""Repeated runs of one plan, with and without clocks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from deepplan import _core
from deepplan.engine.capturing import COLD, WARM, Captures, Kind
from deepplan.engine.precision import precision

MAX_CLOCK_MS = 0.006  # what clocks can cost a layer of a captured run; more is noise
SLOW_MS = 500.0  # a run that takes longer is not repeated for its own sake
STARVED_MS = 100.0  # nor one beside a busy link: some layers get next to nothing of it then

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
    """Runs one session on fixed inputs. Repeats adapt, so that each sample takes about `budget_s`.

    With `captures`, runs are measured as a loaded model makes them.
    """

    def __init__(
        self,
        session: _core.Session,
        inputs: Sequence[torch.Tensor],
        dtype: str | None,
        target: str,
        budget_s: float,
        captures: Captures | None = None,
    ) -> None:
        self._session = session
        self._inputs = list(inputs)
        self._dtype = dtype
        self._target = target
        self._budget_s = budget_s
        self._captures = captures
        self._has_run = False

    def sample(self, plan: _core.ExecutionPlan, report: Report, *, busy_link: bool = False) -> Sample:
        """Cold runs of `plan`; with `busy_link` while other copies fill the target's own link."""
        self._session.rebind(plan)
        if self._captures is not None:
            self._captures.forget()
            if not self._has_run:
                self._cold_run()  # what the first run of a process takes says nothing of the next
            if self._cold_run() < SLOW_MS:  # beside which the launches of operators are nothing
                self._captures.add(COLD, Kind(cold=True, timed=True), WARM)
        self._session.set_background_load(busy_link)
        try:
            return self._sample(report, STARVED_MS if busy_link else SLOW_MS)
        finally:
            self._session.set_background_load(False)

    def warm_ms(self) -> float:
        """Latency in ms of a run with everything resident that the current plan loads."""
        once_ms = self._run()
        return statistics.median(
            [once_ms, *(self._run() for _ in range(self._repeats(once_ms, SLOW_MS, share=0.25) - 1))]
        )

    def _sample(self, report: Report, slow_ms: float) -> Sample:
        on_gpu = self._target != "cpu"
        if on_gpu:
            self._cold_run()  # the first run of all pays what only first runs cost
        clocked_ms, times = self._clocked_run()
        repeats = self._repeats(clocked_ms, slow_ms, share=0.5)
        # Where one run takes long, the first one counts: there is no time for another, and its first costs are small.
        runs = [(clocked_ms, times)] if repeats == 1 else []
        plain_ms: list[float] = []
        for index in range(len(runs), repeats):
            if on_gpu:  # the host's clocks cost nothing, so its clocked runs serve for both
                plain_ms.append(self._cold_run())
            runs.append(self._clocked_run())
            report((index + 1) / repeats)
        clocked_median_ms = statistics.median(latency_ms for latency_ms, _ in runs)
        latency_ms = statistics.median(plain_ms) if plain_ms else clocked_median_ms
        clock_ms = (clocked_median_ms - latency_ms) / max(1, len(times.layers))
        return _summarise([measured for _, measured in runs], min(max(0.0, clock_ms), MAX_CLOCK_MS), latency_ms)

    def _repeats(self, once_ms: float, slow_ms: float, share: float) -> int:
        fitting = share * self._budget_s * 1e3 / max(once_ms, 1e-3)
        return int(min(20, max(fitting, 3 if once_ms < slow_ms else 1)))

    def _clocked_run(self) -> tuple[float, _core.RunTimes]:
        self._session.set_timed(True)
        try:
            latency_ms = self._cold_run()
            times = self._session.last_times()
        finally:
            self._session.set_timed(False)
        assert times is not None  # the run was timed
        return latency_ms, times

    def _cold_run(self) -> float:
        """Latency in ms of a cold run, by the host's clock, from the call to the output being ready."""
        self._session.evict()
        self._synchronize()
        return self._run()

    def _run(self) -> float:
        self._has_run = True
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
