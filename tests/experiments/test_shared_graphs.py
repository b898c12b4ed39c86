from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch


@pytest.mark.parametrize("device", ["host:0", pytest.param("cuda:0", marks=pytest.mark.cuda)])
def test_calls_are_timed_each_way(device: str, monkeypatch, tmp_path: Path) -> None:
    import shared_graphs
    from deepplan.engine import source

    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)).eval()
    module.zoo_name, module.example_inputs = "small", torch.ones(2, 64)
    monkeypatch.setattr(source.models, "names", lambda: ("small",))
    monkeypatch.setattr(source.models, "build", lambda name: module)
    flags = ["--devices", device, "--models", "small:fp32", "--repeat", "9", "--results", str(tmp_path)]
    assert shared_graphs.main([*flags, "--commit", "none"]) == 0
    (row,) = json.loads((tmp_path / "shared_graphs.json").read_text())["rows"]
    assert (row["model"], row["dtype"], row["repeats"]) == ("small", "fp32", 9)
    assert row["launch"] == ("operators" if device.startswith("host") else "graph")
    for kind in ("operators", "same", "turns"):
        assert 0 < row[f"{kind}_low_ms"] <= row[f"{kind}_ms"] <= row[f"{kind}_high_ms"]
