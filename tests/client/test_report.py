"""Reports of requests whose latencies were planted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from deepplan.client.comparison import compare
from deepplan.client.report import Report
from deepplan.client.requests import Requests, simulated
from deepplan.client.transport import Status
from deepplan.errors import DocumentError, InvalidInputError
from deepplan.plots.load import draw_load
from deepplan.serving.simulation import ServingResult

A, R, F = Status.ANSWERED, Status.REFUSED, Status.FAILED


def planted(
    latency_ms: npt.ArrayLike,
    *,
    times_ms: npt.ArrayLike | None = None,
    status: npt.ArrayLike = A,
    cold: npt.ArrayLike = 0,
    instances: npt.ArrayLike = 0,
    models: tuple[str, ...] = ("m",),
    lag_ms: float = 0.01,
    queue_ms: float = math.nan,
    run_ms: float = math.nan,
    duration_ms: float = 10_000.0,
) -> Requests:
    latency_ms = np.array(latency_ms, float)
    count = len(latency_ms)
    states = np.broadcast_to(np.array(status, np.int8), count)
    return Requests(
        times_ms=np.array(np.linspace(0, duration_ms / 2, count) if times_ms is None else times_ms, float),
        instances=np.broadcast_to(np.array(instances, np.int32), count),
        latency_ms=np.where(states == A, latency_ms, math.nan),
        send_lag_ms=np.full(count, lag_ms, np.float32),
        queue_ms=np.full(count, queue_ms, np.float32),
        run_ms=np.full(count, run_ms, np.float32),
        status=states,
        cold=np.broadcast_to(np.array(cold, np.int8), count),
        models=models,
        duration_ms=duration_ms,
        reasons={"broken": int((states == F).sum())} if (states == F).any() else {},
        measured=True,
    )


def test_percentiles_and_the_mean_are_exact() -> None:
    total = Report.of(planted(np.random.default_rng(0).permutation(np.arange(1, 1002)))).total
    assert (total.requests, total.answered, total.refused, total.failed) == (1001, 1001, 0, 0)
    assert (total.mean_ms, total.p50_ms, total.p99_ms) == (501.0, 501.0, 991.0)
    assert total.p999_ms == pytest.approx(1000.0, rel=1e-12)


def test_goodput_counts_all_requests_and_the_objective_itself() -> None:
    requests = planted([50, 100, 100.001, 900, 1, 1, 1, 1], status=[A, A, A, A, R, R, F, A])
    report = Report.of(requests, objective_ms=100.0)
    assert report.total.goodput == 3 / 8
    assert (report.total.answered, report.total.refused, report.total.failed) == (5, 2, 1)
    assert [(failure.reason, failure.count) for failure in report.failures] == [("broken", 1)]
    assert Report.of(requests).total.goodput == 5 / 8  # without an objective every answer counts


def test_cold_starts_are_counted_where_they_are_told() -> None:
    report = Report.of(planted([1] * 6, status=[A, A, A, A, A, R], cold=[1, 0, 0, 0, -1, -1]))
    assert report.total.cold_rate == 1 / 4
    assert Report.of(planted([1, 1], cold=-1)).total.cold_rate is None


def test_what_the_server_says_of_times_is_passed_on_where_it_does() -> None:
    report = Report.of(planted([10.0] * 3, queue_ms=2.5, run_ms=7.0))
    assert (report.total.queue_p99_ms, report.total.run_p99_ms) == (2.5, 7.0)
    assert "2.50 ms queued (p99), 7.00 ms run (p99)" in str(report)
    silent = Report.of(planted([10.0] * 3))
    assert (silent.total.queue_p99_ms, silent.total.run_p99_ms) == (None, None)
    assert "the server says" not in str(silent)


def test_rates_count_until_the_last_answer() -> None:
    requests = planted([10, 10, 15_000], times_ms=[0, 1, 5000])
    report = Report.of(requests)
    assert (report.offered_per_s, report.achieved_per_s) == (0.3, 3 / 20)
    assert Report.of(planted([10, 10, 10])).achieved_per_s == 0.3


def test_models_and_minutes_have_their_own() -> None:
    requests = planted(
        [10, 20, 30, 40],
        times_ms=[0, 59_999, 60_000, 179_000],
        instances=[0, 1, 2, 2],
        models=("a", "b", "a"),
        duration_ms=180_000.0,
    )
    report = Report.of(requests, objective_ms=25.0)
    by_model = [(each.model, each.instances, each.summary.requests, each.summary.p50_ms) for each in report.models]
    assert by_model == [("a", 2, 3, 30.0), ("b", 1, 1, 20.0)]
    by_minute = [(each.minute, each.summary.requests, each.summary.goodput) for each in report.minutes]
    assert by_minute == [(0, 2, 1.0), (1, 1, 0.0), (2, 1, 0.0)]
    assert Report.of(planted([1], duration_ms=60_000.0)).minutes == ()


def test_nothing_has_no_numbers() -> None:
    total = Report.of(planted([])).total
    assert (total.requests, total.p99_ms, total.goodput, total.cold_rate) == (0, None, None, None)
    assert "0" in str(Report.of(planted([])))


@pytest.mark.parametrize(("lag_ms", "distorted"), [(0.01, False), (0.99, False), (1.01, True)])
def test_lateness_that_distorts_is_told(lag_ms: float, distorted: bool) -> None:
    report = Report.of(planted([10.0] * 100, lag_ms=lag_ms))
    assert report.send_lag_p99_ms == pytest.approx(lag_ms)
    assert report.distorted is distorted


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    requests = planted([5, 6, 7], status=[A, R, F], duration_ms=120_001.0)
    for report in (Report.of(requests, objective_ms=5.5, workload="simple"), Report.of(planted([]))):
        report.save(tmp_path / "report.json")
        assert Report.load(tmp_path / "report.json") == report
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(DocumentError, match="is not a report"):
        Report.load(tmp_path / "report.json")


def test_the_text_has_models_minutes_and_failures() -> None:
    requests = planted(
        [5, 6, 7],
        times_ms=[1, 2, 70_000],
        status=[A, R, F],
        instances=[0, 1, 1],
        models=("bert", "gpt"),
        duration_ms=120_000.0,
    )
    text = str(Report.of(requests, objective_ms=5.5, workload="simple, rate 3"))
    lines = text.splitlines()
    assert lines[0] == "simple, rate 3, measured"
    assert "within 5.5 ms" in lines[1]
    row = next(line.split() for line in lines if line.startswith("all"))
    assert row == ["all", "2", "3", "1", "1", "5.00", "5.00", "5.00", "5.00", "33.33", "0.00"]
    assert [line.split()[:2] for line in lines if line.lstrip()[:2] in ("0 ", "1 ")][:2] == [["0", "2"], ["1", "1"]]
    assert lines[-1] == "1 failed: broken"


def result(latency_ms: npt.ArrayLike, cold: npt.ArrayLike) -> ServingResult:
    latency_ms = np.array(latency_ms, float)
    count = len(latency_ms)
    return ServingResult(
        times_ms=np.linspace(0, 100, count),
        instances=np.zeros(count, np.int32),
        latency_ms=latency_ms,
        cold=np.array(cold, bool),
        refused=np.isnan(latency_ms),
        gpu=np.zeros(count, np.int32),
        objective_ms=100.0,
        duration_ms=150.0,
        cold_starts=int(np.sum(cold)),
        evictions=0,
    )


def test_a_simulated_run_gives_the_same_report() -> None:
    served = result([10, 20, 30, math.nan], [True, False, False, False])
    report = Report.of(simulated(served, ["m"]), objective_ms=served.objective_ms)
    assert (report.source, report.send_lag_p99_ms, report.distorted) == ("simulated", None, False)
    assert (report.total.p50_ms, report.total.p99_ms) == (served.p50_ms, served.p99_ms)
    assert (report.total.goodput, report.total.cold_rate) == (served.goodput, served.cold_rate)
    assert report.total.refused == 1


def test_two_reports_are_compared() -> None:
    measured = Report.of(planted([10.0] * 9 + [200.0], cold=[1] * 2 + [0] * 8), objective_ms=100.0)
    predicted = Report.of(simulated(result([20.0] * 10, [True] + [False] * 9), ["m"]), objective_ms=100.0)
    comparison = compare(measured, predicted)
    assert measured.total.p99_ms is not None
    assert comparison.p99_percent == pytest.approx(2000 / measured.total.p99_ms - 100)
    assert comparison.goodput_points == pytest.approx(10)
    assert comparison.cold_rate_points == pytest.approx(-10)
    nothing = compare(Report.of(planted([])), Report.of(planted([])))
    assert (nothing.p99_percent, nothing.goodput_points, nothing.cold_rate_points) == (None, None, None)
    with pytest.raises(InvalidInputError, match="objectives of 100"):
        compare(measured, Report.of(planted([])))


@pytest.mark.parametrize("minutes", [0.5, 3])
def test_a_run_is_drawn(minutes: float, tmp_path: Path) -> None:
    random, count = np.random.default_rng(0), 2000
    requests = planted(
        random.lognormal(2, 0.5, count),
        status=random.choice([A, A, A, R], count),
        cold=random.choice([0, 1], count),
        times_ms=np.sort(random.uniform(0, minutes * 60e3, count)),
        duration_ms=minutes * 60e3,
    )
    report = Report.of(requests, objective_ms=20.0, workload="simple")
    figure = draw_load(requests, report, tmp_path / "load.png")
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == (3 if minutes > 1 else 1)
    _, labels = figure.axes[0].get_legend_handles_labels()
    assert {"answered warm", "answered cold", "refused or failed", "objective, 20 ms"} <= set(labels)
    assert figure.axes[-1].get_xlabel().endswith("min" if minutes > 1 else "s")
    draw_load(planted([]), Report.of(planted([])), tmp_path / "empty.svg")
