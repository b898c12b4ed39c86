from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest


def test_the_rate_grows_until_the_server_does_not_keep_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    front_rate = importlib.import_module("front_rate")
    monkeypatch.setattr(front_rate, "_STEP", 100.0)  # the second rate is too much for any server
    flags = ["--devices", "host:0", "--first-rate", "40", "--duration", "0.5", "--clients", "2"]
    assert front_rate.main([*flags, "--results", str(tmp_path), "--commit", "abc"]) == 0
    found = json.loads((tmp_path / "front_rate.json").read_text())
    first, second, half = found["rows"]
    assert first["achieved_per_s"] == pytest.approx(first["offered_per_s"], rel=0.2) and first["not_answered"] == 0
    assert second["achieved_per_s"] < second["offered_per_s"]
    summary = found["summary"]
    assert summary["added_ms"] == pytest.approx(half["p50_ms"] - summary["without_front_p50_ms"])
    assert found["bars"] == {"added_ms": summary["added_ms"] <= 1, "held_per_s": False}
    assert found["provenance"]["commit"] == "abc"
