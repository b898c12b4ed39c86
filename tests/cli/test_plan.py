from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deepplan import LayerProfile, LinkProfile, Plan, Profile, profiles
from deepplan.cli import main


def test_a_model_is_profiled_planned_saved_and_shown(run, tiny_folder: Path, tmp_path: Path) -> None:
    plans = tmp_path / "plans"
    done = run("plan", "-m", tiny_folder, "-p", plans, "-d", "0", "2")
    assert done.code == 0, done.err
    assert re.match(r"tiny \(fp32, batch 2, host-4gbps-\w{6}, host:0 host:2\), policy optimal\n", done.out)
    assert "Embedding" in done.out
    assert "profiling" in done.err

    again = run("plan", "-m", tiny_folder, "-p", plans, "-d", "0", "2", "--policy", "load_all", "--json")
    assert again.code == 0
    assert "profiling" not in again.err
    plan = Plan.from_text(again.out)
    assert (plan.policy, plan.batch_size, plan.devices) == ("load_all", 2, ("host:0", "host:2"))

    elsewhere = run("plan", "-m", tiny_folder, "-p", plans, "-d", "1", "--json")
    assert "profiling" in elsewhere.err


def test_a_plan_is_drawn_and_traced(run, tiny_folder: Path, tmp_path: Path) -> None:
    plot, trace = tmp_path / "plan.svg", tmp_path / "plan.trace.json"
    assert run("plan", "-m", tiny_folder, "--plot", plot, "--trace", trace).code == 0
    assert plot.read_text().lstrip().startswith("<?xml")
    assert json.loads(trace.read_text())["traceEvents"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-m", "nosuch"], "resnet50"),
        (["-m", "resnet50", "--policy", "greedy"], "pipeswitch"),
        (["-m", "resnet50", "-d", "99"], "99"),
        (["-m", "resnet50", "-d", "0", "0"], "twice"),
        (["-m", "resnet50", "-d", "x"], "'x'"),
        (["-m", "resnet50", "-b", "0"], "--batch 0"),
        (["-m", "resnet50", "--dtype", "fp8"], "bf16"),
        (["-m", "resnet50", "--link-gbps", "-1"], "GB/s"),
        (["-m", "resnet50", "--link-gbps", "1e-300"], "GB/s"),
        (["-m", "resnet50", "--link-gbps", "inf"], "GB/s"),
        (["-m", "resnet50", "--link-gbps", "nan"], "GB/s"),
        (["-m", "resnet50", "--machine", "abacus"], "abacus"),
        (["-m", "resnet50", "--plot", "plan.txt"], ".png"),
        (["-m", "resnet50", "--plot", "/nonexistent/plan.png"], "/nonexistent"),
        (["-m", "/nonexistent.pt2"], "/nonexistent.pt2"),
        (["-m", "resnet50", "--weights", "/nonexistent"], "/nonexistent"),
    ],
)
def test_misuse_is_one_line(run, arguments: list[str], named: str) -> None:
    done = run("plan", *arguments)
    assert (done.code, done.out) == (2, "")
    message = done.err.splitlines()[-1]
    assert message.startswith("deepplan: error: ")
    assert named in message
    assert "Traceback" not in done.err


def test_a_folder_of_another_batch_or_dtype_is_refused(run, tiny_folder: Path) -> None:
    for arguments in (["-b", "1"], ["--dtype", "bf16"], ["--weights", tiny_folder / "weights.safetensors"]):
        done = run("plan", "-m", tiny_folder, *arguments)
        assert done.code == 2
        assert "tiny" in done.err.splitlines()[-1]


def test_a_pt2_file_has_its_batch_size(run, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").touch()
    done = run("plan", "-m", tmp_path / "model.pt2", "-b", "2")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "burnt in" in done.err


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine with two links on which "net" was measured."""
    layers = (
        LayerProfile("table", "Embedding", 80_000_000, 1.6, 0.01, 0.03),
        LayerProfile("fc", "Linear", 8, 0.01, 0.5, 9),
    )
    profile = Profile(
        layers, (LinkProfile(0.01, 50.0), LinkProfile(0.01, 50.0)), model="net", devices=("cuda:0", "cuda:1")
    )
    (tmp_path / "box2").mkdir()
    profile.save(tmp_path / "box2" / "net-fp32-b1.json")
    monkeypatch.setattr(profiles, "_FOLDER", tmp_path)
    return "box2"


@pytest.fixture
def coding_machine(machine: str, tmp_path: Path) -> str:
    """The same machine where the target decodes and the second layer is larger and has a code."""
    path = tmp_path / machine / "net-fp32-b1.json"
    profile = Profile.load(path)
    fc = LayerProfile("fc", "Linear", 8_000_000, 0.2, 0.05, None, coded_bytes=5_600_000)
    replace(profile, layers=(profile.layers[0], fc), decode_gbps=1000.0).save(path)
    return machine


def test_a_shipped_machine_is_planned_for(run, machine: str) -> None:
    done = run("plan", "-m", "net", "--machine", machine, "-d", "0", "1", "--json")
    assert done.code == 0, done.err
    plan = Plan.from_text(done.out)
    assert plan.devices == ("cuda:0", "cuda:1")
    assert plan.layers[0].placement == "dha"


def test_weights_cross_coded_unless_that_is_declined(run, coding_machine: str, tmp_path: Path) -> None:
    arguments = ["plan", "-m", "net", "--machine", coding_machine, "-p", str(tmp_path / "plans")]
    done = run(*arguments)
    assert "8.00 MB of it cross coded as 5.60 MB in 1 groups (c); 5.60 MB cross in all" in done.out, done.err
    plain = Plan.from_text(run(*arguments, "--no-coding", "--json").out)
    coded = Plan.from_text(run(*arguments, "--json").out)
    assert (plain.coded, coded.coded) == ((False,), (True,))
    assert plain.predicted_ms > coded.predicted_ms
    saved = [Plan.load(path) for path in (tmp_path / "plans").rglob("*.plan.json")]
    assert sorted(saved, key=lambda plan: plan.predicted_ms) == [coded, plain]


def test_a_plan_for_a_shipped_machine_is_saved_where_that_is_asked_for(run, machine: str, tmp_path: Path) -> None:
    done = run("plan", "-m", "net", "--machine", machine, "-p", str(tmp_path / "plans"), "--json")
    assert done.code == 0, done.err
    (saved,) = (tmp_path / "plans").rglob("*.plan.json")
    assert Plan.load(saved) == Plan.from_text(done.out)


@pytest.mark.parametrize(
    "arguments", [["-d", "7"], ["-d", "x"], ["--dtype", "bf16"], ["-b", "4"], ["--link-gbps", "8"]]
)
def test_misuse_of_a_shipped_machine(run, machine: str, arguments: list[str]) -> None:
    done = run("plan", "-m", "net", "--machine", machine, *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_a_shipped_machine_is_planned_for_on_the_target_that_was_measured(run) -> None:
    done = run("plan", "-m", "bert_base", "--machine", "h200x4", "-d", "2", "0")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "the first device must be the profile's target, cuda:0, not cuda:2" in done.err


def test_planning_for_a_shipped_machine_needs_no_torch(machine: str, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from deepplan import profiles; from deepplan.cli import main\n"
        f"profiles._FOLDER = Path({str(tmp_path)!r})\n"
        "assert main(['plan', '-m', 'net', '--machine', 'box2', '--trace', 'trace.json']) == 0\n"
        "assert not {'torch', 'deepplan._native', 'matplotlib', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)


def test_main_returns_the_code_of_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-m", "resnet50", "-b", "0"]) == 2
