from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepplan.cli.benchmark import _lines, add_arguments
from deepplan.cli.measurement import Measurement
from deepplan.engine.benchmark import ENGINES, Latencies
from deepplan.planning.plan import Plan
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_is_measured(run, tiny_folder: Path, engine: str) -> None:
    done = run("benchmark", "-m", tiny_folder, "-e", engine, "-d", "0", "2", "--repeat", "3", "--json", "-")
    assert done.code == 0, done.err
    row = json.loads(done.out)
    assert (row["method"], row["devices"], row["batch"], row["repeats"]) == (engine, ["host:0", "host:2"], 2, 3)
    assert row["min_ms"] <= row["median_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert row["loaded_bytes"] + row["direct_host_access_bytes"] == 4 * (500 * 32 + 32 * 64 + 64 + 64 * 8 + 8)
    assert row["predicted_ms"] > 0
    if engine in ("in_memory", "demand"):
        assert row["direct_host_access_bytes"] == 0
    if engine == "in_memory":
        assert row["stall_ms"] == 0


def test_the_text_begins_like_the_original_tool(run, tiny_folder: Path, tmp_path: Path) -> None:
    result, trace = tmp_path / "result.json", tmp_path / "trace.json"
    arguments = ["-m", tiny_folder, "-e", "deepplan", "--repeat", "2", "--link-gbps", "2"]
    done = run("benchmark", *arguments, "--json", result, "--trace", trace, "--policy", "pipeswitch")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "Benchmarking Inference tiny"
    assert lines[1] == f"Average Latency : {json.loads(result.read_text())['mean_ms']:.4f} ms"
    assert lines[-1] == "host device: ordinary memory stands in for GPU memory, links 2 GB/s"
    assert json.loads(trace.read_text())["traceEvents"]
    for wanted in ("Min", "Median", "P99", "Stall", "Loaded", "Left to DHA", "Predicted", "Warm"):
        assert any(line.startswith(wanted) for line in lines)


@pytest.mark.parametrize("coded", [True, False])
def test_the_text_says_what_crosses_coded(coded: bool) -> None:
    layers = [LayerProfile("fc", "Linear", 1000, 1.0, 1.0, None, coded_bytes=700), LayerProfile("b", "", 8, 0, 0, None)]
    profile = Profile(layers, [LinkProfile(0.01, 1.0)], decode_gbps=100.0)
    plan = Plan.from_choices(profile, ["load", "load"], [0, 1], [0, 0], coded=[coded, False])
    measured = Measurement("deepplan", plan, ("cuda:0",), Latencies((1.0,), 0.5, 0.1), 1.0, None)
    coded_lines = [line for line in _lines(measured) if line.startswith("Coded")]
    assert coded_lines == (["Coded           : 1000 of 1008 bytes in 1 groups cross as 700 bytes"] if coded else [])
    row = measured.to_json()
    found = (row["loaded_bytes"], row["crossing_bytes"], row["coded_plain_bytes"], row["coded_bytes"])
    assert found == ((1008, 708, 1000, 700) if coded else (1008, 1008, 0, 0))


def test_a_plan_with_coding_is_not_used_without_it(run, tiny_folder: Path) -> None:
    assert "profiling" in run("plan", "-m", tiny_folder).err
    plain = run("benchmark", "-m", tiny_folder, "--repeat", "1", "--no-coding")
    assert "profiling" not in plain.err and "searching" in plain.err
    again = run("benchmark", "-m", tiny_folder, "--repeat", "1", "--no-coding")
    assert again.code == 0 and "searching" not in again.err


def test_a_saved_plan_is_used_again(run, tiny_folder: Path) -> None:
    assert "profiling" in run("plan", "-m", tiny_folder).err
    again = run("benchmark", "-m", tiny_folder, "--repeat", "1")
    assert again.code == 0
    assert "profiling" not in again.err and "searching" not in again.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-m", "nosuch"], "resnet50"),
        (["-m", "resnet50", "-e", "nosuch"], "in_memory, demand, pipeline, deepplan"),
        (["-m", "resnet50", "-e", "demand", "--policy", "paper"], "--policy"),
        (["-m", "resnet50", "-d", "99"], "99"),
        (["-m", "resnet50", "--repeat", "0"], "--repeat 0"),
        (["-m", "resnet50", "--weights", "/nonexistent"], "/nonexistent"),
        (["-m", "resnet50", "--weights", __file__], Path(__file__).name),
        (["-m", "resnet50", "--json", "/nonexistent/x.json"], "/nonexistent"),
        (["-m", "resnet50", "-p", "/dev/null/plans"], "/dev/null"),
    ],
)
def test_misuse_is_one_line(run, arguments: list[str], named: str) -> None:
    done = run("benchmark", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert named in done.err.splitlines()[-1]


def test_the_help_names_every_engine() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert all(f"{engine}:" in parser.format_help() for engine in ENGINES)
