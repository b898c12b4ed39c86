from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import deepplan

FIELDS = {
    *("model", "dtype", "links", "method", "coded", "cold_ms", "cold_p99_ms", "floor_ms", "ratio", "predicted_ms"),
    *("warm_ms", "graph_replay_ms", "crossing_bytes", "link_gbps", "together_gbps", "repeats"),
    *("replayed", "stall_ms", "launch", "loaded_bytes", "direct_host_access_bytes", "batch", "devices", "equal"),
    *("machine", "commit", "date"),
}
METHODS = ["demand", "pipeline", "deepplan"]
POLICIES = {"demand": "load_all", "pipeline": "pipeswitch", "deepplan": "optimal"}


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


def arguments(folder: Path, *options: str) -> list[str]:
    places = [f"--{name}={folder / name}" for name in ("results", "profiles", "figures")]
    measuring = ["--devices", "host:0", "host:1", "--repeat", "2", "--profile-budget", "0.1", "--commit", "abc"]
    return [*measuring, *places, *options]


def run(folder: Path, *options: str, build: Callable[[str], torch.nn.Module] = Tiny) -> int:
    import floors

    return floors.main(arguments(folder, *options), build=build)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results" / "floors.json").read_text())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("floors")


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those of coded weights: whether any pay is for the measured rates to say."""
    return [row for row in rows if not row["coded"]]


@pytest.fixture
def results(folder: Path) -> dict[str, Any]:
    if not (folder / "results").exists():
        assert run(folder, "--models", "one") == 0
    return read(folder)


def test_every_dtype_link_count_and_method_has_a_row_with_every_field(results: dict[str, Any]) -> None:
    found = [(row["dtype"], row["links"], row["method"]) for row in plain(results["rows"])]
    assert found == [(d, n, m) for d in ("fp32", "tf32", "bf16") for n in (1, 2) for m in METHODS]
    for row in results["rows"]:
        assert set(row) == FIELDS
        assert row["equal"] and not row["replayed"]  # host devices have no graphs
        assert row["repeats"] == 2 and 0 < row["cold_ms"] <= row["cold_p99_ms"]
        assert len(row["devices"]) == row["links"] and row["launch"] == "operators"
        assert row["commit"] == "abc" and row["machine"].startswith("host")
    assert results["provenance"]["commit"] == "abc"
    (setup,) = results["provenance"]["setups"]
    assert setup == {key: value for key, value in results["provenance"].items() if key != "setups"}
    assert results["summary"]["cold_above_bar"]["row"].startswith("one ")


def test_a_floor_is_the_larger_of_the_module_and_its_bytes(results: dict[str, Any]) -> None:
    dense = 4 * (64 * 256 + 256 + 256 * 10 + 10)
    for row in results["rows"]:
        assert row["crossing_bytes"] == (dense // 2 if row["dtype"] == "bf16" else dense)
        crossing_ms = row["crossing_bytes"] / (row["links"] * row["link_gbps"] * 1e6)
        assert row["floor_ms"] == max(row["graph_replay_ms"], crossing_ms)
        assert row["ratio"] == row["cold_ms"] / row["floor_ms"]
        assert 2 < row["link_gbps"] <= 4.1  # what host links carry


def test_predictions_can_be_computed_again_from_the_saved_profiles(results: dict[str, Any], folder: Path) -> None:
    for row in results["rows"]:
        path = folder / "profiles" / results["provenance"]["machine"] / f"one-{row['dtype']}-b1.json"
        profile = deepplan.Profile.load(path)
        assert profile.dtype == row["dtype"]
        devices = row["devices"][: 1 if row["method"] == "demand" else None]
        plan = deepplan.search(profile, POLICIES[row["method"]], devices=devices, coding=row["coded"])
        assert any(plan.coded) == row["coded"]
        assert plan.predicted_ms == row["predicted_ms"]
        assert plan.loaded_bytes == row["loaded_bytes"]


def test_pairs_measured_before_are_kept_and_failures_are_told(results: dict[str, Any], folder: Path) -> None:
    def build(name: str) -> torch.nn.Module:
        if name == "broken":
            raise RuntimeError("made to fail")
        return Tiny(name)

    options = ["--models", "broken", "two", "--dtypes", "bf16", "--links", "2"]
    assert run(folder, *options, build=build) == 1
    rows = read(folder)["rows"]
    before = len(results["rows"])
    assert rows[:before] == results["rows"]
    assert [(row["model"], row["dtype"], row["links"]) for row in plain(rows[before:])] == [("two", "bf16", 2)] * 3


def test_rows_of_other_setups_stay_unless_they_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_floor_row
) -> None:
    import floors_measuring
    from origins import mark, with_setups

    other = {"machine": "h200x4", "commit": "def", "date": "2026-01-01 10:00", "torch": "2.0", "gpus": ["NVIDIA H200"]}
    gone = {**other, "machine": "h100x1"}
    rows = [mark(make_floor_row(links=links), other) for links in (1, 2, 4)]
    rows.append(mark(make_floor_row(links=2, dtype="bf16"), gone))
    path = tmp_path / "results" / "floors.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"provenance": with_setups(gone, rows, [other]), "summary": {}, "rows": rows}))
    monkeypatch.setattr(
        floors_measuring,
        "_measure",
        lambda module, source, devices, counts, options, origin: iter(
            mark(make_floor_row(dtype=source.dtype, links=links), origin) for links in counts
        ),
    )
    assert run(tmp_path, "--models", "one", "--dtypes", "fp32", "bf16") == 0
    found = read(tmp_path)
    host = found["provenance"]["machine"]
    assert [(row["dtype"], row["links"], row["machine"]) for row in found["rows"]] == [
        ("fp32", 4, "h200x4"),
        *(("fp32", links, host) for links in (1, 2)),
        *(("bf16", links, host) for links in (1, 2)),
    ]
    assert [setup["machine"] for setup in found["provenance"]["setups"]] == ["h200x4", host]
    assert found["provenance"]["setups"][0] == other


def test_what_another_setup_measured_counts_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_floor_row
) -> None:
    import floors_measuring
    from origins import mark

    measured: list[str] = []

    def measure(module: torch.nn.Module, source: Any, *rest: Any) -> Any:
        measured.append(source.dtype)
        yield mark(make_floor_row(dtype=source.dtype), rest[-1])

    monkeypatch.setattr(floors_measuring, "_measure", measure)
    options = ["--models", "one", "--links", "1", "--dtypes"]
    assert run(tmp_path, *options, "fp32") == 0
    assert run(tmp_path, *options, "fp32", "bf16") == 0
    assert run(tmp_path, *options, "fp32", "bf16", "--commit", "def") == 0
    assert run(tmp_path, *options, "bf16", "tf32", "--commit", "def") == 0
    assert measured == ["fp32", "bf16", "fp32", "fp32", "bf16", "tf32", "bf16"]


def test_one_export_serves_fp32_and_tf32(tmp_path: Path) -> None:
    from floors_measuring import _Exports

    built = []
    exports = _Exports(lambda name: built.append(name) or Tiny(name))  # type: ignore[func-returns-value]
    module, fp32 = exports.of("one", "fp32")
    again, tf32 = exports.of("one", "tf32")
    cast, bf16 = exports.of("one", "bf16")
    assert built == ["one"] and again is module and tf32.captured is fp32.captured
    assert (fp32.dtype, tf32.dtype, bf16.dtype) == ("fp32", "tf32", "bf16")
    assert next(cast.parameters()).dtype == torch.bfloat16 and next(module.parameters()).dtype == torch.float32


def test_time_that_is_up_is_told_and_what_is_missing_comes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, make_floor_row
) -> None:
    import floors_measuring
    from origins import mark

    options = ["--models", "one", "--dtypes", "fp32", "bf16", "--links", "1"]
    monkeypatch.setattr(floors_measuring.time, "perf_counter", iter([0.0, 5.0, *[15.0] * 10**5]).__next__)
    monkeypatch.setattr(
        floors_measuring,
        "_measure",
        lambda module, source, *rest: iter([mark(make_floor_row(dtype=source.dtype), rest[-1])]),
    )
    assert run(tmp_path, *options, "--time-limit", "10") == 0
    assert "not measured: one bf16" in capsys.readouterr().out
    assert [row["dtype"] for row in read(tmp_path)["rows"]] == ["fp32"]
    monkeypatch.setattr(floors_measuring.time, "perf_counter", iter([0.0, 5.0, *[15.0] * 10**5]).__next__)
    assert run(tmp_path, *options, "--time-limit", "10") == 0
    assert "not measured: one fp32" in capsys.readouterr().out
    assert [row["dtype"] for row in read(tmp_path)["rows"]] == ["fp32", "bf16"]


def test_without_any_time_there_is_nothing_to_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--models", "one", "--time-limit", "0") == 1
    assert "not measured: one fp32, one tf32, one bf16" in capsys.readouterr().out


def test_wrong_outputs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import floors_measuring
    from deepplan.engine.resident import Resident

    def wrong(module: torch.nn.Module, *rest: object) -> Resident:
        return Resident(1.0, "eager", (module(module.example_inputs) + 0.1,))

    monkeypatch.setattr(floors_measuring, "measure_resident", wrong)
    assert run(tmp_path, "--models", "one", "--dtypes", "tf32", "--links", "1") == 1
    assert not (tmp_path / "results").exists() and not (tmp_path / "profiles").exists()


@pytest.mark.parametrize("links", ["0", "3"])
def test_links_that_are_not_there_are_refused(tmp_path: Path, links: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--links", links)
    assert f"--links {links}" in capsys.readouterr().err


def test_redrawing_needs_neither_torch_nor_the_compiled_core(tmp_path: Path, make_floor_row, check_redrawing) -> None:
    from floors_summary import summarise
    from origins import mark, with_setups

    two, four = (
        {"machine": machine, "commit": "abc", "date": "2026-01-01 10:00", "torch": "2.11"}
        for machine in ("h100x2", "h200x4")
    )
    rows = [
        mark(
            make_floor_row(model=model, dtype=dtype, links=links, method=method, cold_ms=6.0 / links + index),
            two if links < 4 else four,
        )
        for model in ("bert_base", "gpt2")
        for dtype in ("fp32", "bf16")
        for links in (1, 2, 4)
        for index, method in enumerate(METHODS)
    ]
    document = {"provenance": with_setups(two, rows, [four]), "summary": summarise(rows), "rows": rows}
    check_redrawing("floors", document, tmp_path)


def test_redrawing_without_results_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import floors

    assert floors.main(["--redraw", "--results", str(tmp_path)]) == 1
    assert "without --redraw" in capsys.readouterr().err
