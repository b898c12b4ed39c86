from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MakeRow = Callable[..., dict[str, Any]]


def test_cold_starts_over_one_link_are_held_to_the_bars(make_floor_row: MakeRow) -> None:
    from floors_summary import summarise

    rows = [
        make_floor_row(model="kept", cold_ms=5.3, cold_p99_ms=5.8),
        make_floor_row(model="missed", cold_ms=5.36, cold_p99_ms=6.0),
        make_floor_row(model="other", cold_ms=50.0, cold_p99_ms=50.0, method="demand"),
        make_floor_row(model="parallel", cold_ms=50.0, cold_p99_ms=50.0, links=2),
    ]
    summary = summarise(rows)
    missed = "missed fp32 deepplan, 1 link of h100x4"
    cold, p99 = summary["cold_above_bar"], summary["p99_above_bar"]
    assert (cold["row"], cold["missed"]) == (missed, [missed]) and cold["worst_ms"] == pytest.approx(0.01)
    assert (p99["row"], p99["missed"]) == (missed, [missed]) and p99["worst_ms"] == pytest.approx(0.15)
    kept = summarise(rows[:1])["cold_above_bar"]
    assert kept["missed"] == [] and kept["worst_ms"] == pytest.approx(-0.05)
    assert summary["worst_ratio_by_links"]["2"] == {"value": 10.0, "row": "parallel fp32 deepplan, 2 links of h100x4"}


def test_cold_starts_over_several_links_are_held_to_what_limits_them(make_floor_row: MakeRow) -> None:
    from floors_summary import summarise

    resident = {"graph_replay_ms": 5.0, "crossing_bytes": 100_000_000}
    links = {"graph_replay_ms": 1.0, "crossing_bytes": 450_000_000}
    rows = [
        make_floor_row(model="a", links=2, cold_ms=5.56, **resident),
        make_floor_row(model="b", links=2, cold_ms=5.79, **links),
        make_floor_row(model="c", links=4, cold_ms=6.06, **links),
        make_floor_row(model="d", links=8, cold_ms=6.04, **links),
        make_floor_row(model="e", links=4, cold_ms=5.54, **resident),
        make_floor_row(model="f", links=1, cold_ms=9.0, **links),
    ]
    above = summarise(rows)["several_links_above_bar"]
    assert above["missed"] == ["a fp32 deepplan, 2 links of h100x4", "c fp32 deepplan, 4 links of h100x4"]
    together = summarise(rows)["worst_over_together"]  # 90 GB/s bring 450 MB in 5 ms
    assert together == {"value": pytest.approx(1.8), "row": "f fp32 deepplan, 1 link of h100x4"}


def test_error_is_relative_to_the_measurement(make_floor_row: MakeRow) -> None:
    from floors_summary import summarise

    rows = [make_floor_row(cold_ms=10.0, predicted_ms=9.0), make_floor_row(cold_ms=5.0, predicted_ms=6.0)]
    assert summarise(rows)["median_prediction_error"] == pytest.approx(0.15)


def test_warm_runs_are_compared_with_the_replay(make_floor_row: MakeRow) -> None:
    from floors_summary import summarise

    rows = [
        make_floor_row(method="demand", warm_ms=4.4, graph_replay_ms=4.0),
        make_floor_row(warm_ms=6.0, graph_replay_ms=4.0, replayed=False, launch="operators"),
    ]
    summary = summarise(rows)
    assert summary["worst_warm_over_replay"] == {"value": 1.5, "row": "one fp32 deepplan, 1 link of h100x4"}
    assert summary["worst_warm_over_replay_all_loaded"]["value"] == pytest.approx(1.1)
    assert summary["not_replayed"] == ["one fp32"]
    assert summary["launched_by_operators"] == ["one fp32 deepplan, 1 link of h100x4"]


def test_deepplan_is_compared_with_pipeswitch_over_as_many_links(make_floor_row: MakeRow) -> None:
    from floors_summary import summarise

    rows = [
        make_floor_row(method="pipeline", links=1, cold_ms=6.0),
        make_floor_row(method="deepplan", links=1, cold_ms=6.05),
        make_floor_row(method="pipeline", links=2, cold_ms=4.0),
        make_floor_row(method="deepplan", links=2, cold_ms=4.1),
        make_floor_row(method="deepplan", links=4, cold_ms=40.0),
    ]
    over = summarise(rows)["deepplan_over_pipeline"]
    assert over["worst_ratio"] == pytest.approx(1.025)
    assert over["slower"] == [over["row"]] == ["one fp32 deepplan, 2 links of h100x4"]


def test_numbers_of_different_runs_are_not_compared(make_floor_row: MakeRow) -> None:
    from floors_summary import summarise

    rows = [
        make_floor_row(method="pipeline", links=1, cold_ms=6.0),
        make_floor_row(method="pipeline", links=4, cold_ms=3.0),
        make_floor_row(links=4, cold_ms=2.0),
        make_floor_row(links=4, cold_ms=3.0, coded=True),
    ]
    summary = summarise(rows)
    assert summary["runs"] == [{"machine": "h100x4", "commit": "abc", "date": "2026-01-01 10:00", "rows": 4}]
    assert summary["times_faster_than_pipeline_over_one_link"] == {
        "one fp32 deepplan, 4 links of h100x4": 3.0,
        "one fp32 deepplan coded, 4 links of h100x4": 2.0,
    }
    assert summary["coded_over_plain"]["worst_ratio"] == 1.5
    for origin in ({"machine": "h200x4"}, {"commit": "def"}, {"date": "2026-01-01 10:01"}):
        others = [{**row, **origin} if row["method"] == "pipeline" or row["coded"] else row for row in rows]
        summary = summarise(others)
        assert [run["rows"] for run in summary["runs"]] == [3, 1]
        compared = summary["times_faster_than_pipeline_over_one_link"]
        assert list(compared.values()) == [2.0]  # the coded row is of PipeSwitch's run
        assert summary["coded_over_plain"] is None
        assert summary["deepplan_over_pipeline"]["worst_ratio"] == 1.0


def test_what_was_not_measured_is_none() -> None:
    from floors_summary import summarise

    summary = summarise([])
    assert summary["cold_above_bar"] is None and summary["deepplan_over_pipeline"] is None
    assert summary["worst_warm_over_replay"] is None and summary["median_prediction_error"] is None
    assert summary["worst_ratio_by_links"] == {}
