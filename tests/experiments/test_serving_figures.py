from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

FIELDS = {
    *("sweep", "model", "dtype", "coded", "method", "title", "links", "gpus", "gpu_memory_bytes", "objective_ms"),
    *("instances", "rate_per_s", "requests", "p50_ms", "p99_ms", "goodput", "cold_rate", "warm_ms", "cold_ms"),
    *("crowded_ms", "simulated", "machine", "commit", "date"),
}
MEASURED = {
    *("failed", "send_lag_p99_ms", "run_p50_ms", "run_p99_ms", "overhead_ms", "resident_bytes", "gpu_bytes"),
    "predicted",
}
TITLES = ["PipeSwitch", "DHA", "PT+DHA"]
Serve = Callable[..., dict[str, Any]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Runs a script on some runs of its own or others; returns what it wrote."""

    def run(name: str, runs: Sequence[Any], *flags: str) -> dict[str, Any]:
        places = ["--results", str(tmp_path), "--figures", str(tmp_path), "--commit", "abc"]
        assert importlib.import_module(name).main([*flags, *places], runs) == 0
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        found: dict[str, Any] = json.loads((tmp_path / f"{name}.json").read_text())
        return found

    return run


def test_figure_12_sweeps_instances_and_rates(
    serve: Serve, check_redrawing: Callable[..., None], tmp_path: Path
) -> None:
    fig12 = importlib.import_module("fig12")
    runs = [
        *fig12.sweep_instances((20, 200), fig12.PAPER),
        *fig12.sweep_rates((50, 400), fig12.TIGHT),
        *(run for run in fig12.RUNS if run.sweep in ("half", "resident")),
    ]
    results = serve("fig12", runs, "--simulate", "--duration", "20")
    rows = results["rows"]
    assert [row["title"] for row in rows] == [title for title in TITLES for _ in runs]
    assert all(set(row) == FIELDS and row["simulated"] for row in rows)
    assert results["provenance"]["machine"] == "h200x4"
    of = {(row["title"], row["sweep"], row["instances"], row["rate_per_s"]): row for row in rows}
    for title in TITLES:
        few, many = of[title, "instances", 20, 100], of[title, "instances", 200, 100]
        assert few["cold_rate"] < 0.05 < many["cold_rate"] and many["p99_ms"] > many["warm_ms"]
        assert of[title, "rate", 390, 50]["p99_ms"] < of[title, "rate", 390, 400]["p99_ms"]
    # What is read in place need not be waited for.
    assert of["DHA", "instances", 200, 100]["p99_ms"] < of["PipeSwitch", "instances", 200, 100]["p99_ms"]
    assert len(results["summary"]["simulated"]["half_load_over_resident"]) == 3
    assert results["summary"]["simulated"]["held_rate_per_s"]["bert_base fp32 PT+DHA"] in (50, 400)
    check_redrawing("fig12", results, tmp_path)


def test_what_is_not_served_again_is_kept(serve: Serve) -> None:
    fig12 = importlib.import_module("fig12")
    serve("fig12", fig12.sweep_instances((20,), fig12.PAPER), "--simulate", "--duration", "5")
    results = serve("fig12", fig12.sweep_rates((50,), fig12.TIGHT), "--simulate", "--duration", "5")
    results = serve("fig12", fig12.sweep_rates((60,), fig12.TIGHT), "--simulate", "--duration", "5")
    assert [(row["sweep"], row["rate_per_s"]) for row in results["rows"]] == 3 * [("instances", 100)] + 3 * [
        ("rate", 60)
    ]


def test_figure_13_serves_two_models(serve: Serve) -> None:
    runs = [run for run in importlib.import_module("fig13").RUNS if run.instances == 20]
    rows = serve("fig13", runs, "--simulate", "--duration", "5")["rows"]
    assert [(row["title"], row["model"]) for row in rows] == [(t, m) for t in TITLES for m in ("bert_large", "gpt2")]


def test_real_serving_is_measured_beside_what_was_predicted(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    from deepplan import models

    module = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(4))).eval().requires_grad_(False)
    module.zoo_name, module.example_inputs = "chain", torch.zeros(1, 256)  # type: ignore[assignment]
    monkeypatch.setenv("DEEPPLAN_HOME", str(tmp_path))
    monkeypatch.setattr(models, "names", lambda: ("chain",))
    monkeypatch.setattr(models, "build", lambda name, weights=None: module)
    serving_runs = importlib.import_module("serving_runs")
    runs = serving_runs.sweep_rates((50,), serving_runs.Run("", "chain", 6, 0, 4 << 20, 1000))
    results = serve("fig12", runs, "--devices", "host:0", "host:1", "--duration", "1")
    rows = results["rows"]
    assert [row["title"] for row in rows] == TITLES
    assert all(set(row) == FIELDS | MEASURED and not row["simulated"] and row["failed"] == 0 for row in rows)
    assert all(row["goodput"] == 1 and row["gpus"] == 2 and row["cold_rate"] > 0.1 for row in rows)
    assert set(results["summary"]) == {"measured", "simulated_beside_measured"}
