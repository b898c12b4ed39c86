from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import deepplan

FIELDS = {
    *("model", "method", "devices", "dtype", "batch", "median_ms", "min_ms", "max_ms", "p99_ms", "predicted_ms"),
    *("warm_ms", "floor_ms", "loaded_bytes", "direct_host_access_bytes", "repeats", "stall_ms", "equal"),
}


class Tiny(torch.nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(1000, 64)
        self.first = torch.nn.Linear(64, 256)
        self.second = torch.nn.Linear(256, 10)
        self.zoo_name = name
        self.example_inputs = torch.arange(12).reshape(2, 6)
        self.eval().requires_grad_(False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(self.embed(ids))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fig10")


def arguments(folder: Path, *models: str) -> list[str]:
    places = [f"--{name}={folder / name}" for name in ("results", "profiles", "figures")]
    return ["--models", *models, "--devices", "host:0", "host:1", "--repeat", "3", "--commit", "abc", *places]


@pytest.fixture
def results(folder: Path) -> dict:
    import fig10

    path = folder / "results" / "fig10.json"
    if not path.exists():
        assert fig10.main(arguments(folder, "one"), build=Tiny) == 0
    return json.loads(path.read_text())


def test_there_is_a_row_for_each_method_with_every_field(results: dict) -> None:
    found = [(row["method"], row["devices"]) for row in results["rows"]]
    one, both = ["host:0"], ["host:0", "host:1"]
    assert found == [("demand", one), ("pipeline", one), ("deepplan", one), ("pipeline", both), ("deepplan", both)]
    for row in results["rows"]:
        assert set(row) == FIELDS
        assert row["repeats"] == 3 and row["equal"] and row["min_ms"] <= row["median_ms"] <= row["max_ms"]
    assert results["provenance"]["commit"] == "abc"
    assert set(results["provenance"]) >= {"machine", "gpus", "torch", "cuda", "driver", "commit", "date", "seed"}


def test_predictions_can_be_computed_again_from_the_saved_profile(results: dict, folder: Path) -> None:
    path = folder / "profiles" / results["provenance"]["machine"] / "one-fp32-b1.json"
    profile = deepplan.Profile.load(path)
    policies = {"demand": "load_all", "pipeline": "pipeswitch", "deepplan": "optimal"}
    for row in results["rows"]:
        plan = deepplan.search(profile, policies[row["method"]], devices=row["devices"])
        assert deepplan.simulate(profile, plan).total_ms == row["predicted_ms"]
        assert (plan.loaded_bytes, plan.direct_host_access_bytes) == (
            row["loaded_bytes"],
            row["direct_host_access_bytes"],
        )


def test_floor_counts_no_gathered_table(results: dict) -> None:
    from deepplan.engine.floor import bytes_that_must_cross
    from deepplan.engine.source import resolve

    graph = resolve(Tiny("one"), dtype="fp32", keep=False).captured.graph
    dense = 4 * (64 * 256 + 256 + 256 * 10 + 10)
    assert bytes_that_must_cross(graph) == dense
    assert graph.size_bytes == dense + 4 * 1000 * 64
    assert all(row["floor_ms"] >= row["warm_ms"] for row in results["rows"])


def test_models_measured_before_are_kept_and_failures_are_told(results: dict, folder: Path) -> None:
    import fig10

    def build(name: str) -> torch.nn.Module:
        if name == "broken":
            raise RuntimeError("made to fail")
        return Tiny(name)

    assert fig10.main(arguments(folder, "broken", "two"), build=build) == 1
    rows = json.loads((folder / "results" / "fig10.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["one"] * 5 + ["two"] * 5


def test_rows_of_another_setup_are_dropped(folder: Path, results: dict) -> None:
    import fig10

    again = [*arguments(folder, "three"), "--commit", "another"]
    assert fig10.main(again, build=Tiny) == 0
    rows = json.loads((folder / "results" / "fig10.json").read_text())["rows"]
    assert {row["model"] for row in rows} == {"three"}


def test_wrong_outputs_are_refused() -> None:
    from deepplan.engine.devices import Devices
    from deepplan.engine.profiler import profile_source
    from deepplan.engine.source import resolve
    from measure_methods import measure_methods

    module = Tiny("one")
    source = resolve(module, dtype="fp32", keep=False)
    devices = Devices(("host:0",))
    profile = profile_source(source, devices, source.tensor_inputs(), lambda share: None)
    wrong = [module(module.example_inputs) + 1e-2]
    with pytest.raises(AssertionError):
        list(measure_methods(source, profile, devices, wrong, repeats=1))


def test_redrawing_needs_neither_torch_nor_the_compiled_core(tmp_path: Path, make_row, check_redrawing) -> None:
    from methods import METHODS
    from summary import summarise

    rows = [
        make_row(model, method.engine, 4 if method.parallel else 1, 10.0 / (index + 1), 10.0 / (index + 1))
        for model in ("bert_base", "gpt2")
        for index, method in enumerate(METHODS)
    ]
    document = {"provenance": {"machine": "h200x4", "torch": "2.11"}, "summary": summarise(rows), "rows": rows}
    check_redrawing("fig10", document, tmp_path)


def test_redrawing_without_results_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fig10

    assert fig10.main(["--redraw", "--results", str(tmp_path)]) == 1
    assert "without --redraw" in capsys.readouterr().err
