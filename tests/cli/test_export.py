from __future__ import annotations

import json
from pathlib import Path

from deepplan import Plan, Profile


def test_an_exported_folder_runs_without_profiling(run, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    done = run("export", "-m", tiny_folder, "-o", folder, "--policy", "pipeswitch")
    assert done.code == 0, done.err
    assert str(folder) in done.out
    assert Plan.load(folder / "plan.json").policy == "pipeswitch"
    assert Profile.load(folder / "profile.json").model == "tiny"

    copied = run("benchmark", "-m", folder, "-p", tmp_path / "empty", "--repeat", "1", "--json", "-")
    assert copied.code == 0, copied.err
    assert "profiling" not in copied.err
    assert json.loads(copied.out)["model"] == "tiny"


def test_a_folder_that_cannot_be_written_is_refused_first(run, tiny_folder: Path) -> None:
    done = run("export", "-m", tiny_folder, "-o", "/dev/null/exported")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
