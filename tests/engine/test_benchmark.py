"""Which plan an engine executes, and what is counted of its runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import deepplan
from deepplan.engine import benchmark
from deepplan.engine.benchmark import ENGINES, Latencies, measure, policy_of
from deepplan.errors import InvalidInputError, UnknownNameError

MakePlan = Callable[..., deepplan.Plan]


def test_each_engine_has_its_policy() -> None:
    policies = {engine: policy_of(engine) for engine in ENGINES}
    assert policies == {
        "in_memory": "load_all",
        "demand": "load_all",
        "pipeline": "pipeswitch",
        "deepplan": "optimal",
    }
    assert policy_of("deepplan", "paper") == "paper"


def test_only_deepplan_takes_a_policy() -> None:
    for engine in set(ENGINES) - {"deepplan"}:
        with pytest.raises(InvalidInputError, match=f"{engine} always uses {policy_of(engine)}"):
            policy_of(engine, "optimal")
    with pytest.raises(UnknownNameError, match="no engine 'baseline'; there are in_memory, demand"):
        policy_of("baseline")


@pytest.mark.parametrize(
    ("count", "rank"), [(1, 1), (2, 2), (10, 10), (99, 99), (100, 99), (101, 100), (200, 198), (201, 199)]
)
def test_p99_is_the_nearest_rank(count: int, rank: int) -> None:
    backwards = tuple(float(value) for value in range(count, 0, -1))
    assert Latencies(backwards, 1.0, 0.0).p99_ms == rank


def test_median_and_mean_are_of_the_cold_runs() -> None:
    latencies = Latencies((1.0, 2.0, 9.0), warm_ms=0.5, stall_ms=0.25)
    assert (latencies.median_ms, latencies.mean_ms) == (2.0, 4.0)


class CountingSession:
    """Counts what is asked of a real session, in order."""

    def __init__(self, session: deepplan.Session) -> None:
        self._session = session
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def run_flat(self, inputs: list[torch.Tensor]) -> list[object]:
        self.asked.append("warm" if self._session.is_resident else "cold")
        return self._session.run_flat(inputs)

    def evict(self, *, poison: bool = False) -> bool:
        self.asked.append("poison" if poison else "evict")
        return self._session.evict(poison=poison)


@pytest.mark.parametrize("warm_only", [False, True])
@pytest.mark.parametrize(("repeats", "warm_runs"), [(1, 1), (3, 3), (25, 20)])
def test_measures_as_many_runs_as_asked_for(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, warm_only: bool, repeats: int, warm_runs: int
) -> None:
    plan = make_plan(tiny, ids, "each_layer")
    shares: list[float] = []
    with deepplan.load(tiny, plan, devices=["host:0"], example_inputs=ids) as session:
        counting = CountingSession(session)
        latencies = measure(counting, [ids], warm_only=warm_only, repeats=repeats, report=shares.append)  # type: ignore[arg-type]
    measured = ["warm"] * repeats if warm_only else ["poison", "cold"] * repeats
    assert counting.asked == ["cold", "warm"] + ["warm"] * warm_runs + measured
    assert len(latencies.cold_ms) == repeats
    assert min(latencies.cold_ms) > 0 and latencies.warm_ms > 0
    assert latencies.stall_ms == 0 if warm_only else latencies.stall_ms >= 0
    assert shares == [(index + 1) / repeats for index in range(repeats)]


def test_a_latency_holds_the_copies(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, set_host_links: Callable[..., None]
) -> None:
    """390 kB take 0.2 s at 0.002 GB/s, and only a cold run waits for them."""
    set_host_links(link_gbps=0.002)
    plan = make_plan(tiny, ids, "load_all")
    with deepplan.load(tiny, plan, devices=["host:0"], example_inputs=ids) as session:
        cold = measure(session, [ids], warm_only=False, repeats=2)
    copies_ms = plan.loaded_bytes / 0.002 / 1e6
    assert min(cold.cold_ms) >= 0.95 * copies_ms
    assert cold.stall_ms >= 0.9 * copies_ms
    assert cold.warm_ms < copies_ms


@pytest.mark.parametrize("repeats", [0, -1])
def test_no_run_at_all_is_refused(repeats: int) -> None:
    with pytest.raises(InvalidInputError, match="at least 1 run"):
        benchmark.measure(None, [], warm_only=True, repeats=repeats)  # type: ignore[arg-type]
