from typing import Any

import pytest


def _row(title: str, sweep: str, rate_per_s: float, goodput: float, p99_ms: float, **changed: Any) -> dict[str, Any]:
    row = {
        "model": "bert_base",
        "dtype": "fp32",
        "title": title,
        "coded": False,
        "simulated": False,
        "sweep": sweep,
        "instances": 390,
        "rate_per_s": rate_per_s,
        "goodput": goodput,
        "p99_ms": p99_ms,
        "cold_rate": 0.9,
        "predicted": {"p99_ms": p99_ms, "goodput": goodput, "cold_rate": 0.9},
    }
    return {**row, **changed}


def test_the_highest_rate_with_goodput_is_held() -> None:
    from serving_summary import summarise

    rows = [
        _row("PipeSwitch", "rate", 150, 0.999, 17),
        _row("PipeSwitch", "rate", 200, 0.989, 25),  # by a hiccup: 250 is held
        _row("PipeSwitch", "rate", 250, 0.99, 21),
        _row("PipeSwitch", "rate", 300, 0.978, 28),
        _row("PT+DHA", "rate", 300, 0.5, 90, coded=True),
        _row("DHA", "half", 400, 1.0, 10),
    ]
    held = {"bert_base fp32 PipeSwitch": 250, "bert_base fp32 PT+DHA coded": 0}
    assert summarise(rows)["measured"]["held_rate_per_s"] == held
    assert summarise([{**row, "simulated": True} for row in rows])["simulated"]["held_rate_per_s"] == held


def test_half_load_is_set_beside_resident_instances_at_the_same_rate() -> None:
    from serving_summary import summarise

    rows = [
        _row("PT+DHA", "resident", 331, 1.0, 16),
        _row("PT+DHA", "half", 331, 1.0, 20),
        _row("DHA", "half", 340, 1.0, 20),
    ]
    assert summarise(rows)["measured"]["half_load_over_resident"] == {"fp32 PT+DHA, 331/s": 1.25}


def test_predictions_are_set_beside_what_was_measured() -> None:
    from serving_summary import summarise

    predicted = {"p99_ms": 12.0, "goodput": 0.97, "cold_rate": 0.91}
    rows = [
        _row("PT+DHA", "rate", 100, 1.0, 10, predicted=predicted),
        _row("PT+DHA", "rate", 400, 0.5, 100, predicted={**predicted, "cold_rate": 0.87}),
    ]
    beside = summarise(rows)["simulated_beside_measured"]
    assert beside["p99_where_held"]["off"] == pytest.approx(0.2)
    assert beside["goodput_points"]["off"] == pytest.approx(47)
    assert beside["cold_rate_points"]["off"] == pytest.approx(-3)
    assert "at 400/s" in beside["cold_rate_points"]["row"]
