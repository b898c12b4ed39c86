from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

FIELDS = {
    *("model", "dtype", "method", "title", "batch", "devices", "cold_ms", "cold_p99_ms", "throughput_per_s"),
    *("predicted_ms", "repeats", "machine", "commit", "date"),
}
TITLES = ["on-demand", "PipeSwitch", "DHA", "PT", "PT+DHA"]


class Tiny(torch.nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(1000, 64)
        self.first = torch.nn.Linear(64, 10)
        self.zoo_name = name
        self.example_inputs = torch.arange(6).reshape(1, 6)
        self.eval().requires_grad_(False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.first(self.embed(ids))


def build(name: str) -> torch.nn.Module:
    if name == "broken":
        raise RuntimeError("made to fail")
    return Tiny(name)


@pytest.fixture
def measure(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs the script on two host devices and returns what is in its file then."""
    import fig11

    def run(*flags: str, status: int = 0) -> dict[str, Any]:
        places = ["--results", str(tmp_path), "--figures", str(tmp_path)]
        commit = [] if "--commit" in flags else ["--commit", "abc"]
        devices = ["--devices", "host:0", "host:1", "--repeat", "3"]
        assert fig11.main([*devices, *flags, *places, *commit], build) == status
        found: dict[str, Any] = json.loads((tmp_path / "fig11.json").read_text())
        return found

    return run


def test_every_method_is_measured_at_every_batch_size(
    measure: Callable[..., dict[str, Any]], check_redrawing: Callable[..., None], tmp_path: Path
) -> None:
    results = measure("--models", "one", "--batch-sizes", "1", "2")
    rows = results["rows"]
    assert [(row["batch"], row["title"]) for row in rows] == [(size, title) for size in (1, 2) for title in TITLES]
    for row in rows:
        assert set(row) == FIELDS
        assert row["repeats"] == 3 and 0 < row["cold_ms"] <= row["cold_p99_ms"] and row["predicted_ms"] > 0
        assert row["throughput_per_s"] == pytest.approx(1e3 * row["batch"] / row["cold_ms"])
        assert row["devices"] == ["host:0", "host:1"][: 2 if row["title"].startswith("PT") else 1]
    assert [setup["commit"] for setup in results["provenance"]["setups"]] == ["abc"]
    check_redrawing("fig11", results, tmp_path)


def test_what_is_not_measured_again_is_kept_and_failures_are_told(measure: Callable[..., dict[str, Any]]) -> None:
    measure("--models", "one", "--batch-sizes", "2")
    rows = measure("--models", "broken", "one", "--batch-sizes", "1", "0", status=1)["rows"]
    assert [(row["model"], row["batch"]) for row in rows] == [("one", 1)] * 5 + [("one", 2)] * 5


def test_rows_of_another_setup_are_dropped(measure: Callable[..., dict[str, Any]]) -> None:
    measure("--models", "one", "--batch-sizes", "1")
    rows = measure("--models", "one", "--batch-sizes", "2", "--commit", "another")["rows"]
    assert {(row["batch"], row["commit"]) for row in rows} == {(2, "another")}


def test_redrawing_without_results_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fig11

    assert fig11.main(["--redraw", "--results", str(tmp_path)]) == 1
    assert "without --redraw" in capsys.readouterr().err
