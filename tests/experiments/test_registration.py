from __future__ import annotations

import json
from pathlib import Path

import torch


def test_loads_are_split_into_their_parts(monkeypatch, tmp_path: Path) -> None:
    import registration

    def build(name: str) -> torch.nn.Module:
        module = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(4))).eval()
        module.zoo_name, module.example_inputs = name, torch.zeros(2, 512)
        return module

    monkeypatch.setattr(registration.models, "build", build)
    flags = ["--devices", "host:0", "--model", "small", "--repeat", "3", "--results", str(tmp_path), "--commit", "none"]
    assert registration.main(flags) == 0
    content = json.loads((tmp_path / "registration.json").read_text())
    assert content["provenance"]["commit"] == "none"
    rows = content["registrations"]
    assert [(row["source"], row["arena"]) for row in rows] == [
        ("module", "empty"),
        ("module", "reserved"),
        ("folder", "empty"),
        ("folder", "reserved"),
    ]
    for row in rows:
        assert row["bytes"] >= 4 * 4 * 512 * 513
        assert 0 < row["load_min_s"] <= row["load_s"] <= row["load_max_s"]
        assert row["arena_s"] > 0 and row["fill_s"] > 0 and row["rest_s"] > 0 and row["fill_gbps"] > 0
    assert rows[0]["arena_s"] > rows[1]["arena_s"]  # 64 MiB are touched, or were before
