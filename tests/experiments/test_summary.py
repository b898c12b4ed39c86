from __future__ import annotations

import pytest


def test_error_is_relative_to_the_measurement(make_row) -> None:
    from summary import summarise

    rows = [make_row("gpt2", "demand", 1, 10.0, 9.0), make_row("gpt2", "deepplan", 1, 5.0, 6.0)]
    summary = summarise(rows)
    assert summary["median_prediction_error"] == pytest.approx(0.15)
    assert summary["max_prediction_error"] == pytest.approx(0.2)


def test_only_predictions_that_are_clearly_apart_promise_an_order(make_row) -> None:
    from summary import summarise

    close = [make_row("gpt2", "demand", 1, 10.0, 9.0), make_row("gpt2", "pipeline", 1, 10.5, 8.9)]
    assert (summarise(close)["ordered_pairs"], summarise(close)["misordered"]) == (0, [])
    apart = [*close, make_row("gpt2", "deepplan", 1, 11.0, 5.0)]
    assert summarise(apart)["ordered_pairs"] == 2
    assert summarise(apart)["misordered"] == ["gpt2: on-demand and DHA", "gpt2: PipeSwitch and DHA"]


def test_models_are_not_compared_with_one_another(make_row) -> None:
    from summary import summarise

    rows = [make_row("gpt2", "demand", 1, 10.0, 9.0), make_row("bert_base", "demand", 1, 20.0, 1.0)]
    assert summarise(rows)["ordered_pairs"] == 0


def test_latencies_with_a_bar_are_those_of_their_rows(make_row) -> None:
    from summary import summarise

    rows = [
        make_row("bert_base", "deepplan", 1, 6.5, 6.4),
        make_row("bert_base", "deepplan", 4, 5.0, 6.4),
        make_row("gpt2_medium", "deepplan", 1, 22.0, 22.0),
        make_row("bert_large", "deepplan", 4, 5.0, 5.0),
    ]
    summary = summarise(rows)
    assert summary["bert_base_dha_ms"] == 6.5
    assert summary["gpt2_medium_dha_ms"] == 22.0
    assert summary["bert_large_pt_dha_over_warm"] == pytest.approx(1.25)


def test_what_was_not_measured_is_none() -> None:
    from summary import summarise

    summary = summarise([])
    assert summary["median_prediction_error"] is None
    assert summary["bert_base_dha_ms"] is None
    assert summary["bert_large_pt_dha_over_warm"] is None
