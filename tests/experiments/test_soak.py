"""A soak of models that do not fit together runs on a host device and says what it saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

WIDTHS = {"small": 512, "middle": 768, "large": 1024}  # 2 to 8 MiB of weights: segments of device memory are of 2
ROW = {
    *("model", "cold_starts", "driven_out", "by_operators", "wrong", "other_bits", "median_ms", "p99_ms", "min_ms"),
    *("max_ms", "first_ms", "last_ms", "drift"),
}


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    width = WIDTHS[name]
    module = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(2))).eval()
    module.zoo_name, module.example_inputs = name, torch.ones(1, width)
    return module


def soak(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    import soak as script

    places = [f"--{name}={folder / name}" for name in ("results", "profiles")]
    flags = ["--devices", "host:0", "host:1", "--models", *WIDTHS, "--profile-budget", "0.1", "--commit", "abc"]
    code = script.main([*flags, *places, "--most-drift", "9", *options], build=build)
    return code, json.loads((folder / "results" / "soak.json").read_text())


def test_models_take_turns_in_a_budget_and_answer_right(tmp_path: Path) -> None:
    from deepplan import _core
    from deepplan.engine import machine

    pinned_bytes = _core.arena_stats().used_bytes
    code, results = soak(tmp_path, "--cold-starts", "60")
    assert code == 0 and all(results["checks"].values())
    assert not {"no_new_segments", "launched_as_captured"} & set(results["checks"])  # nothing is captured here
    setting = results["setting"]
    assert setting["cold_starts"] == setting["wanted_cold_starts"] == 60
    assert setting["weight_bytes"] == sum(4 * 2 * (width * width + width) for width in WIDTHS.values())
    assert setting["budget_bytes"] == int(0.6 * setting["weight_bytes"])
    assert {row["model"] for row in results["rows"]} == set(WIDTHS)
    for row in results["rows"]:
        assert set(row) == ROW
        assert row["wrong"] == 0 and 0 < row["min_ms"] <= row["median_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert sum(row["cold_starts"] for row in results["rows"]) == 60
    assert sum(row["driven_out"] for row in results["rows"]) > 10
    assert [sample["cold_starts"] for sample in results["memory"]] == list(range(61))
    assert results["provenance"]["commit"] == "abc"
    assert _core.arena_stats().used_bytes == pinned_bytes  # everything was closed
    assert machine.target("host:0").used_bytes == 0


def test_a_time_limit_ends_it_early(tmp_path: Path) -> None:
    _, results = soak(tmp_path, "--cold-starts", "1000", "--time-limit", "0")
    assert results["setting"]["cold_starts"] == 1
    assert [sample["cold_starts"] for sample in results["memory"]] == [0, 1]


def test_a_wrong_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import soak_running

    call = soak_running._call
    calls = iter(range(1000))

    def err_once(model: Any) -> Any:
        if next(calls) == 2 * len(WIDTHS):  # the first after the warm-up
            model.answer[0] = model.answer[0] + 1
        return call(model)

    monkeypatch.setattr(soak_running, "_call", err_once)
    code, results = soak(tmp_path, "--cold-starts", "3")
    assert code == 1 and not results["checks"]["all_answers_right"]
    assert sum(row["wrong"] for row in results["rows"]) >= 1


@pytest.mark.parametrize("options", [["--cold-starts", "0"], ["--budget-share", "1"], ["--budget-share", "0"]])
def test_what_is_no_soak_is_refused(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit):
        soak(tmp_path, *options)


def test_a_budget_that_does_not_hold_the_largest_is_refused(tmp_path: Path) -> None:
    from deepplan.engine import machine
    from deepplan.errors import InvalidInputError

    with pytest.raises(InvalidInputError, match="do not hold large"):
        soak(tmp_path, "--budget-share", "0.5")
    assert machine.target("host:0").used_bytes == 0
