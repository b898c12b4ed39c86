from __future__ import annotations

from pathlib import Path

import pytest

import deepplan
from deepplan import LayerProfile, LinkProfile, Plan, Profile


def profile() -> Profile:
    layers = (
        LayerProfile("embed", "Embedding", 90_000_000, 1.7, 0.01, 0.03),
        LayerProfile("act", "GELU", 0, 0.0, 0.01, None),
        *(LayerProfile(f"fc{i}", "Linear", 9_000_000, 0.2, 0.1, 2.0) for i in range(4)),
    )
    links = (LinkProfile(0.01, 50.0),) * 2
    return Profile(layers=layers, links=links, model="toy", dtype="fp32", machine="h1x2", devices=("cuda:0", "cuda:1"))


def test_tables_show_every_method_and_each_run_of_the_plans(tmp_path: Path) -> None:
    import plan_tables

    (tmp_path / "h1x2").mkdir()
    profile().save(tmp_path / "h1x2" / "toy-fp32-b1.json")
    out = tmp_path / "docs" / "plans.md"
    assert plan_tables.main(["--profiles", str(tmp_path), "--out", str(out)]) == 0
    text = out.read_text()
    assert "## h1x2" in text
    for title in ("on-demand", "PipeSwitch", "DHA", "PT", "PT+DHA"):
        assert f"| toy | fp32 | {title} |" in text
    best = deepplan.search(profile(), devices=["cuda:0"])
    assert f"| {best.predicted_ms:.2f} |" in text
    assert "| 2 | embed | act | DHA |" in text


def test_runs_cover_the_plan_and_join_what_is_treated_alike() -> None:
    from plan_runs import runs_of

    placements = ["dha", "load", "load", "load", "dha", "load"]
    plan = Plan.from_choices(profile(), placements, [-1, -1, 0, 0, -1, 1], [0, 1])
    runs = runs_of(plan)
    assert [(run.first, run.last, run.choice, run.group) for run in runs] == [
        ("embed", "act", "DHA", -1),
        ("fc0", "fc1", "load", 0),
        ("fc2", "fc2", "DHA", -1),
        ("fc3", "fc3", "load", 1),
    ]
    assert sum(run.layers for run in runs) == len(plan.layers)
    assert sum(run.size_bytes for run in runs) == sum(layer.size_bytes for layer in plan.layers)
    assert runs[1].arrives_ms == plan.timeline.groups[0].end_ms and runs[0].arrives_ms is None
    assert runs[-1].route == 1 and runs[-1].end_ms == plan.timeline.layers[-1].end_ms


def test_methods_have_the_policies_that_the_engines_execute() -> None:
    import plan_tables
    from deepplan.engine.benchmark import policy_of

    assert {engine: policy_of(engine) for engine in plan_tables.POLICIES} == plan_tables.POLICIES


def test_without_profiles_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import plan_tables

    assert plan_tables.main(["--profiles", str(tmp_path), "--out", str(tmp_path / "plans.md")]) == 1
    assert "fig10.py" in capsys.readouterr().err
    assert not (tmp_path / "plans.md").exists()
