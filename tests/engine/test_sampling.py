"""How often a plan is run, and what is made of the runs: with a session and a clock that are made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from deepplan.engine import sampling
from deepplan.engine.sampling import MAX_CLOCK_MS, Sampler


@dataclass
class MadeUpSession:
    """Takes `cold_ms` or `warm_ms` for a run, and `clocks_ms` more when timed; layers last what `layer_ms` says."""

    cold_ms: float = 10.0
    warm_ms: float = 1.0
    clocks_ms: float = 0.0
    layer_ms: Callable[[int], Sequence[float]] = lambda run: [1.0, 2.0]
    now_ms: float = 0.0
    did: list[str] = field(default_factory=list)
    timed: bool = False
    busy: bool = False
    resident: bool = False
    timed_runs: int = 0

    def rebind(self, plan: object) -> None:
        self.did.append(f"rebind {plan}")
        self.resident = False

    def set_background_load(self, busy: bool) -> None:
        self.busy = busy

    def set_timed(self, timed: bool) -> None:
        self.timed = timed

    def evict(self) -> None:
        self.resident = False

    def run(self, inputs: list[torch.Tensor]) -> None:
        kind = "warm" if self.resident else "cold"
        self.did.append(kind + " timed" * self.timed + " busy" * self.busy)
        self.now_ms += self.warm_ms if self.resident else self.cold_ms
        self.now_ms += self.clocks_ms if self.timed else 0.0
        self.timed_runs += self.timed
        self.resident = True

    def last_times(self) -> object:
        run = self.timed_runs - 1
        layers = [SimpleNamespace(start_ms=5.0, end_ms=5.0 + lasted) for lasted in self.layer_ms(run)]
        groups = [SimpleNamespace(start_ms=float(run), end_ms=2.0 * run)]
        return SimpleNamespace(cold=True, layers=layers, groups=groups)


@pytest.fixture
def make_sampler(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sampler]:
    """`make_sampler(session, budget_s, target)`; time passes only in the session."""

    def make(session: MadeUpSession, budget_s: float = 5.0, target: str = "cpu") -> Sampler:
        monkeypatch.setattr(sampling, "time", SimpleNamespace(perf_counter=lambda: session.now_ms / 1e3))
        stream = SimpleNamespace(synchronize=lambda: None)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
        return Sampler(session, [], None, target, budget_s)  # type: ignore[arg-type]

    return make


MakeSampler = Callable[..., Sampler]


@pytest.mark.parametrize(
    ("cold_ms", "budget_s", "repeats"),
    [
        (1.0, 5.0, 20),  # never more
        (200.0, 4.0, 10),  # half of the budget
        (300.0, 0.1, 3),  # never fewer
    ],
)
def test_repeats_fill_the_budget(make_sampler: MakeSampler, cold_ms: float, budget_s: float, repeats: int) -> None:
    session, shares = MadeUpSession(cold_ms=cold_ms), []
    make_sampler(session, budget_s).sample("plan", shares.append)  # type: ignore[arg-type]
    assert session.did == ["rebind plan"] + ["cold timed"] * (1 + repeats)
    assert shares == [(index + 1) / repeats for index in range(repeats)]
    assert not session.timed


def test_a_slow_run_is_taken_as_it_is(make_sampler: MakeSampler) -> None:
    session = MadeUpSession(cold_ms=600.0)
    sample = make_sampler(session, 1.0).sample("plan", lambda share: None)  # type: ignore[arg-type]
    assert session.did == ["rebind plan", "cold timed"]
    assert sample.latency_ms == pytest.approx(600)
    assert sample.layers_ms == pytest.approx((1, 2))
    assert sample.layers_spread_ms == (0, 0)


def test_medians_and_spreads_leave_the_first_run_out(make_sampler: MakeSampler) -> None:
    session = MadeUpSession(cold_ms=1.0, layer_ms=lambda run: [1000.0 if run == 0 else run, 7.0, -0.0005])
    sample = make_sampler(session).sample("plan", lambda share: None)  # type: ignore[arg-type]
    # Of 1 to 20: the median, and from the third to the third last.
    assert sample.layers_ms == pytest.approx((10.5, 7, 0))
    assert sample.layers_spread_ms == pytest.approx((15, 0, 0), abs=1e-9)
    assert sample.layers_ms[2] == 0  # a tick of the clock backwards is no time
    assert sample.groups_ms == ((10.5, 21.0),)


def test_the_link_is_busy_only_where_asked_for(make_sampler: MakeSampler) -> None:
    session = MadeUpSession(cold_ms=600.0)
    sampler = make_sampler(session, 1.0)
    sampler.sample("first", lambda share: None, busy_link=True)  # type: ignore[arg-type]
    sampler.sample("second", lambda share: None)  # type: ignore[arg-type]
    assert session.did == ["rebind first", "cold timed busy", "rebind second", "cold timed"]


def test_a_failed_run_leaves_no_load_behind(make_sampler: MakeSampler) -> None:
    def fail(run: int) -> Sequence[float]:
        raise RuntimeError("no times")

    session = MadeUpSession(layer_ms=fail)
    with pytest.raises(RuntimeError, match="no times"):
        make_sampler(session).sample("plan", lambda share: None, busy_link=True)  # type: ignore[arg-type]
    assert not session.busy and not session.timed


def test_warm_runs_evict_nothing(make_sampler: MakeSampler) -> None:
    session = MadeUpSession(resident=True, warm_ms=2.5)
    assert make_sampler(session).warm_ms() == pytest.approx(2.5)
    assert session.did == ["warm"] * 20


@pytest.mark.parametrize(("clocks_ms", "each_ms"), [(0.004, 0.002), (5.0, MAX_CLOCK_MS), (0.0, 0.0)])
def test_on_a_gpu_what_the_clocks_cost_is_taken_off(
    make_sampler: MakeSampler, clocks_ms: float, each_ms: float
) -> None:
    session = MadeUpSession(clocks_ms=clocks_ms)
    sample = make_sampler(session, 5.0, "cuda:0").sample("plan", lambda share: None)  # type: ignore[arg-type]
    assert session.did == ["rebind plan", "cold", "cold timed"] + ["cold", "cold timed"] * 20
    assert sample.latency_ms == pytest.approx(10)
    assert sample.layers_ms == pytest.approx((1 - each_ms, 2 - each_ms), abs=1e-6)
