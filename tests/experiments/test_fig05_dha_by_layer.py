from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_a_gathered_table_is_cheap_in_place_and_dear_to_load(tmp_path: Path) -> None:
    import fig05_dha_by_layer as fig05

    places = ["--results", str(tmp_path), "--figures", str(tmp_path)]
    options = ["--devices", "host:0", "--families", "embedding", "--commit", "abc"]
    assert fig05.main([*options, *places]) == 0
    results = json.loads((tmp_path / "fig05_dha_by_layer.json").read_text())
    by_layer = {row["layer"]: row for row in results["rows"]}
    row = by_layer["embedding 30522x768, 1 token"]
    assert row["size_bytes"] == 30522 * 768 * 4
    assert row["load_ms"] > 0.9 * row["size_bytes"] / 4e6 > row["in_place_ms"] > 0  # a host link carries 4 GB/s
    assert (tmp_path / "fig05_dha_by_layer.png").exists()
    assert fig05.main(["--redraw", *places]) == 0


def test_every_kind_of_layer_runs_on_its_input() -> None:
    import torch

    from fig05_measuring import nn_of
    from layer_kinds import KINDS

    assert {kind.family for kind in KINDS} == {"embedding", "norm", "linear", "convolution"}
    for kind in KINDS:
        with torch.inference_mode():
            assert nn_of(kind)(kind.make_input()).numel() > 0


def test_redrawing_without_results_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fig05_dha_by_layer as fig05

    assert fig05.main(["--redraw", "--results", str(tmp_path)]) == 1
    assert "without --redraw" in capsys.readouterr().err
