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
    assert content["bars"]["fill_gbps"] == min(rows[1]["fill_gbps"], rows[3]["fill_gbps"])


def test_bars_are_for_memory_that_is_there() -> None:
    from registration import bars

    fast = {"arena": "reserved", "bytes": 700_000_000, "load_s": 0.2, "fill_gbps": 20.0}
    empty = {**fast, "arena": "empty", "load_s": 9.0, "fill_gbps": 1.0}
    assert bars([empty, fast]) == {
        "load_s_for_1_4_gb": 0.4,
        "fill_gbps": 20.0,
        "loads_within_a_second": True,
        "fills_at_10_gbps": True,
    }
    slow = {**fast, "load_s": 0.6, "fill_gbps": 9.9}
    missed = bars([fast, slow, empty])
    assert not missed["loads_within_a_second"] and not missed["fills_at_10_gbps"]
