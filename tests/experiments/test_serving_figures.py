from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FIELDS = {
    *("sweep", "model", "method", "title", "links", "gpus", "gpu_memory_bytes", "objective_ms", "instances"),
    *("rate_per_s", "requests", "p50_ms", "p99_ms", "goodput", "cold_rate", "warm_ms", "cold_ms"),
}
TITLES = ["PipeSwitch", "DHA", "PT+DHA"]


@pytest.fixture
def simulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a script on few settings for seconds of virtual time; returns what it wrote."""

    def run(name: str, **constants: object) -> dict[str, Any]:
        script = importlib.import_module(name)
        for constant, value in constants.items():
            monkeypatch.setattr(script, constant, value)
        places = ["--results", str(tmp_path), "--figures", str(tmp_path), "--commit", "abc"]
        assert script.main(["--simulate", "--duration", "20", *places]) == 0
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        found: dict[str, Any] = json.loads((tmp_path / f"{name}.json").read_text())
        return found

    return run


def test_figure_12_sweeps_instances_and_rates(
    simulate: Callable[..., dict[str, Any]], check_redrawing: Callable[..., None], tmp_path: Path
) -> None:
    results = simulate("fig12", INSTANCES=(20, 200), RATES_PER_S=(50, 400))
    rows = results["rows"]
    assert [row["title"] for row in rows] == [title for _ in range(2) for title in TITLES for _ in range(2)]
    assert all(set(row) == FIELDS for row in rows)
    assert (results["provenance"]["simulated"], results["provenance"]["machine"]) == (True, "h200x4")
    for few, many in zip(rows[0:6:2], rows[1:6:2]):
        assert (few["instances"], many["instances"]) == (20, 200)
        assert few["cold_rate"] < 0.05 < many["cold_rate"] and many["p99_ms"] > many["warm_ms"]
    for slow, fast in zip(rows[6::2], rows[7::2]):
        assert (slow["rate_per_s"], fast["rate_per_s"]) == (50, 400) and slow["p99_ms"] < fast["p99_ms"]
    assert rows[3]["p99_ms"] < rows[1]["p99_ms"]  # what is read in place need not be waited for
    check_redrawing("fig12", results, tmp_path)


def test_figure_13_serves_two_models(simulate: Callable[..., dict[str, Any]]) -> None:
    rows = simulate("fig13", INSTANCES={"bert_large": (10,), "gpt2": (20,)})["rows"]
    assert [(row["model"], row["title"]) for row in rows] == [(m, t) for m in ("bert_large", "gpt2") for t in TITLES]


def test_real_serving_is_not_pretended(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module("fig12").main([])
    assert stopped.value.code == 2 and "not built yet" in capsys.readouterr().err
