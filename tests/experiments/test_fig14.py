from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

FIELDS = {
    *("minute", "method", "title", "links", "simulated", "requests", "offered_per_s", "p99_ms", "goodput"),
    *("cold_rate", "failed", "machine", "commit", "date"),
}
TITLES = ("PipeSwitch", "DHA", "PT+DHA")


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the script on a trace of three minutes, the last of which is empty; returns what is in its file then."""
    trace = tmp_path / "trace.csv"
    lines = ["HashOwner,HashApp,HashFunction,Trigger,1,2,3"]
    lines += [f"a,b,{index},http,{index % 7},{3 * (index % 5)},0" for index in range(300)]
    trace.write_text("\n".join(lines) + "\n")
    places = ["--results", str(tmp_path), "--figures", str(tmp_path), "--commit", "abc"]

    def run(*flags: str, **served: Any) -> dict[str, Any]:
        fig14 = importlib.import_module("fig14")
        assert fig14.main(["--trace", str(trace), "--minutes", "3", *flags, *places], **served) == 0
        found: dict[str, Any] = json.loads((tmp_path / "fig14.json").read_text())
        return found

    return run


def test_a_trace_is_served_minute_by_minute(
    serve: Callable[..., dict[str, Any]], check_redrawing: Callable[..., None], tmp_path: Path
) -> None:
    results = serve("--simulate")
    rows = results["rows"]
    assert [(row["title"], row["minute"]) for row in rows] == [(t, minute) for t in TITLES for minute in range(3)]
    assert all(set(row) == FIELDS and row["simulated"] for row in rows)
    assert sum(row["offered_per_s"] for row in rows[:3]) == pytest.approx(450, rel=0.01)
    assert rows[2]["offered_per_s"] == 0 and rows[1]["offered_per_s"] > rows[0]["offered_per_s"] > 0
    assert rows[2]["p99_ms"] is rows[2]["goodput"] is None
    assert all(row["p99_ms"] > 0 and 0 < row["goodput"] <= 1 for row in rows if row["offered_per_s"])
    assert results["provenance"]["simulated"] is True and results["provenance"]["trace"] == "trace.csv"
    check_redrawing("fig14", results, tmp_path)


def test_a_shorter_run_has_the_beginning_of_the_trace(serve: Callable[..., dict[str, Any]]) -> None:
    whole = serve("--simulate", "--methods", "DHA")["rows"]
    cut = serve("--simulate", "--methods", "DHA", "--duration", "90")["rows"]
    assert len(cut) == 2 and cut[0] == {**whole[0], "date": cut[0]["date"]}
    assert cut[1]["requests"] == pytest.approx(whole[1]["requests"] / 2, rel=0.1)
    assert cut[1]["offered_per_s"] == pytest.approx(whole[1]["offered_per_s"], rel=0.1)


def test_several_models_are_served_for_real_beside_what_was_simulated(
    serve: Callable[..., dict[str, Any]],
    check_redrawing: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import torch

    from deepplan import models

    def build(name: str, weights: object = None) -> torch.nn.Module:
        width = {"small": 128, "large": 256}[name]
        module = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(4))).eval().requires_grad_(False)
        module.zoo_name, module.example_inputs = name, torch.zeros(1, width)  # type: ignore[assignment]
        return module

    simulated = serve("--simulate")["rows"]
    monkeypatch.setenv("DEEPPLAN_HOME", str(tmp_path))
    monkeypatch.setattr(models, "names", lambda: ("small", "large"))
    monkeypatch.setattr(models, "build", build)
    setting = replace(
        importlib.import_module("fig14").PAPER, rate_per_s=60, gpu_memory_bytes=4 << 20, objective_ms=1000
    )
    flags = ("--devices", "host:0", "host:1", "--duration", "1")
    results = serve(*flags, mix={"small": 2, "large": 6}, setting=setting)
    rows = results["rows"]
    assert rows[: len(simulated)] == simulated
    measured = rows[len(simulated) :]
    assert [(row["title"], row["minute"]) for row in measured] == [(title, 0) for title in TITLES]
    for row in measured:
        assert set(row) == FIELDS and not row["simulated"]
        assert row["failed"] == 0 and row["goodput"] == 1 and row["cold_rate"] > 0 and row["requests"] > 10
    assert [setup["simulated"] for setup in results["provenance"]["setups"]] == [True, False]
    assert set(results["summary"]) == {f"{t}, {how}" for t in TITLES for how in ("simulated", "measured")}
    check_redrawing("fig14", results, tmp_path)


def test_without_a_trace_there_is_nothing_to_serve() -> None:
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module("fig14").main(["--simulate"])
    assert stopped.value.code == 2
