from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from deepplan.engine import profiler

ROW = {"model", "dtype", "links", "method", "coded", "cold_ms", "cold_p99_ms", "floor_ms", "ratio", "graph_replay_ms"}


@pytest.fixture(autouse=True)
def _short_profiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "_BUDGET_S", 0.1)


class Zoo(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(64, 64)
        self.zoo_name = "resnet50"
        self.example_inputs = torch.ones(1, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x)


def test_a_zoo_model_is_compared_with_its_module(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from deepplan import models

    monkeypatch.setattr(models, "build", lambda name, weights=None: Zoo().eval())
    arguments = ["-m", "resnet50", "--dtype", "bf16", "-b", "2", "-d", "0", "1", "--repeat", "2"]
    done = run("benchmark", "--floor", *arguments, "--json", "-")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["resident"] == "eager"  # a host device has no graphs
    rows = document["rows"]
    assert [(row["links"], row["method"]) for row in rows] == [
        (links, method) for links in (1, 2) for method in ("demand", "pipeline", "deepplan")
    ]
    for row in rows:
        assert set(row) > ROW
        assert (row["model"], row["dtype"], row["batch"], row["repeats"]) == ("resnet50", "bf16", 2, 2)
        assert row["crossing_bytes"] == 2 * (64 * 64 + 64)
        assert row["ratio"] == row["cold_ms"] / row["floor_ms"]


def test_an_exported_model_is_compared_with_its_warm_calls(run, tiny_folder: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = run("benchmark", "--floor", "-m", tiny_folder, "-d", "0", "1", "--repeat", "2", "--json", result)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("tiny (fp32, batch 2) on host:0, host:1 of host-4gbps")
    assert lines[1].startswith("Resident") and "has no module" in lines[1]
    assert lines[2].startswith(f"Must cross      : {4 * (32 * 64 + 64 + 64 * 8 + 8)} bytes")
    assert "floor ms" in lines[4] and "PipeSwitch ms" in lines[4] and "on-demand ms" in lines[4]
    document = json.loads(result.read_text())
    assert document["resident"] == "warm" and not any(row["replayed"] for row in document["rows"])
    for line, links in zip(lines[5:7], (1, 2), strict=True):
        rows = {row["method"]: row for row in document["rows"] if row["links"] == links}
        best = rows["deepplan"]
        cells = [best["cold_ms"], best["cold_p99_ms"], best["floor_ms"], best["ratio"], best["predicted_ms"]]
        cells += [rows["pipeline"]["cold_ms"], rows["demand"]["cold_ms"]]
        assert line.split()[0] == str(links)
        assert [float(cell) for cell in line.split()[1:]] == pytest.approx(cells, abs=5e-4)
    assert lines[-1].startswith("host device:")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["-e", "demand"], "-e demand"),
        (["-e", "deepplan"], "-e deepplan"),
        (["--policy", "paper"], "--policy paper"),
        (["--trace", "trace.json"], "--trace trace.json"),
        (["-d", "99"], "99"),
        (["--repeat", "0"], "--repeat 0"),
    ],
)
def test_misuse_is_one_line(run, flags: list[str], named: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("benchmark", "--floor", "-m", "resnet50", *flags)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err and named in done.err.splitlines()[-1]
