from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_a_trace_is_served_minute_by_minute(tmp_path: Path, check_redrawing: Callable[..., None]) -> None:
    trace = tmp_path / "trace.csv"
    lines = ["HashOwner,HashApp,HashFunction,Trigger,1,2,3"]
    lines += [f"a,b,{index},http,{index % 7},{3 * (index % 5)},0" for index in range(300)]
    trace.write_text("\n".join(lines) + "\n")
    places = ["--results", str(tmp_path), "--figures", str(tmp_path), "--commit", "abc"]
    fig14 = importlib.import_module("fig14")
    assert fig14.main(["--simulate", "--trace", str(trace), "--minutes", "3", *places]) == 0
    results = json.loads((tmp_path / "fig14.json").read_text())
    rows = results["rows"]
    assert [(row["title"], row["minute"]) for row in rows] == [
        (title, minute) for title in ("PipeSwitch", "DHA", "PT+DHA") for minute in range(3)
    ]
    assert sum(row["offered_per_s"] for row in rows[:3]) == pytest.approx(450, rel=0.01)
    assert rows[2]["offered_per_s"] == 0 and rows[1]["offered_per_s"] > rows[0]["offered_per_s"] > 0
    assert rows[2]["p99_ms"] is rows[2]["goodput"] is None
    assert all(row["p99_ms"] > 0 and 0 < row["goodput"] <= 1 for row in rows if row["offered_per_s"])
    assert results["provenance"]["simulated"] is True and results["provenance"]["trace"] == "trace.csv"
    check_redrawing("fig14", results, tmp_path)


def test_without_a_trace_there_is_nothing_to_serve() -> None:
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module("fig14").main(["--simulate"])
    assert stopped.value.code == 2
