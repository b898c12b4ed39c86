"""The experiment runs on a host device and says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def test_writes_a_row_for_each_source_and_dtype(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    import weight_coding

    (tmp_path / "trained" / "model").mkdir(parents=True)
    file = tmp_path / "trained" / "model" / "model.safetensors"
    save_file({"w": torch.randn(300, 300) * 0.05, "n": torch.arange(5)}, file)
    arguments = ["--devices", "host:0", "--mib", "1", "--repeat", "1", "--weights", str(file)]
    assert weight_coding.main([*arguments, "--results", str(tmp_path), "--commit", "test"]) == 0
    results = json.loads((tmp_path / "weight_coding.json").read_text())
    assert results["provenance"]["commit"] == "test"
    rows = {(row["weights"], row["dtype"]): row for row in results["rows"]}
    assert set(rows) == {
        (source, dtype) for source in ("normal(0, 0.02)", "trained") for dtype in ("fp32", "bf16", "fp16")
    }
    for (_, dtype), row in rows.items():
        assert 0.6 < row["kept"] < {"fp32": 0.9, "bf16": 0.8, "fp16": 0.95}[dtype]
        assert row["encode_gbps"] > 0 and row["decode_gbps"] > 0
    assert rows["trained", "fp32"]["plain_bytes"] == 4 * 300 * 300
