from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_what_the_program_prints_is_recorded(tmp_path: Path) -> None:
    import executor_overhead

    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho \'{"operators": 10, "overhead_us_per_operator": 0.5}\'\n')
    program.chmod(0o755)
    assert executor_overhead.main(["--program", str(program), "--results", str(tmp_path), "--commit", "abc"]) == 0
    recorded = json.loads((tmp_path / "executor_overhead.json").read_text())
    assert recorded["overhead_us_per_operator"] == 0.5
    assert recorded["provenance"]["commit"] == "abc"


def test_a_program_that_is_not_built_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import executor_overhead

    assert executor_overhead.main(["--program", str(tmp_path / "none"), "--results", str(tmp_path)]) == 1
    assert "build it first" in capsys.readouterr().err


def test_the_committed_overhead_is_within_a_microsecond() -> None:
    from results_file import ROOT, read_results

    path = ROOT / "experiments" / "results" / "executor_overhead.json"
    assert read_results(path)["overhead_us_per_operator"] <= 1.0
