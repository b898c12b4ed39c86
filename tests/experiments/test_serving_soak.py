from __future__ import annotations

import importlib
import json
from pathlib import Path


def test_an_engine_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    soak = importlib.import_module("serving_soak")
    flags = ["--duration", "6", "--kill-every", "2", "--instances", "4", "--fitting", "1", "--load", "0.3"]
    assert soak.main([*flags, "--results", str(tmp_path), "--commit", "abc"]) == 0
    found = json.loads((tmp_path / "serving_soak.json").read_text())
    summary = found["summary"]
    assert summary["right"] > 50 and summary["left"] > 0
    assert summary["wrong"] == summary["lost"] == 0 and summary["kills"] == summary["restarts"] >= 1
    assert found["failed"] == [] and found["provenance"]["commit"] == "abc"


def test_what_goes_wrong_is_said() -> None:
    soak = importlib.import_module("serving_soak")
    memory = [
        {"server_bytes": 100 << 20, "engine_bytes": 100 << 20},
        {"server_bytes": 100 << 20, "engine_bytes": 1 << 30},
    ]
    summary = {"right": 3, "wrong": 1, "lost": 2, "kills": 2, "restarts": 1, "exit_code": 1, "memory": memory}
    said = " ".join(soak._failures(summary))
    for part in ("1 requests wrong", "2 requests lost", "only 3 right", "2 kills and 1 restarts", "engine_bytes grew"):
        assert part in said
    assert "server_bytes" not in said
