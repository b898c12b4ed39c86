from __future__ import annotations

import re
from pathlib import Path

from deepplan import Profile


def test_profiling_measures_always_and_saves(run, tiny_folder: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans"
    first = run("profile", "-m", tiny_folder, "-p", plans, "--link-gbps", "2")
    assert first.code == 0, first.err
    assert re.match(r"tiny \(fp32, batch 2, host-2gbps-\w{6}\)\n", first.out)
    assert "host:0: " in first.out
    assert list(plans.rglob("*.json"))

    second = run("profile", "-m", tiny_folder, "-p", plans, "--json")
    assert "profiling" in second.err
    profile = Profile.from_text(second.out)
    assert profile.machine.startswith("host-4gbps-")  # --link-gbps held for its own command only
    assert profile.layers[0].size_bytes == 500 * 32 * 4
