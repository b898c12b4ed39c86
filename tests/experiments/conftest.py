"""Tests import the scripts as `python experiments/NAME.py` does: with their folder on the path."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture(autouse=True)
def _scripts_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    yield


def row(model: str, method: str, links: int, measured_ms: float, predicted_ms: float) -> dict[str, Any]:
    """A row of Figure 10 with made-up times."""
    return {
        "model": model,
        "method": method,
        "devices": [f"cuda:{index}" for index in range(links)],
        "dtype": "fp32",
        "batch": 1,
        "median_ms": measured_ms,
        "min_ms": 0.9 * measured_ms,
        "max_ms": 1.2 * measured_ms,
        "p99_ms": 1.2 * measured_ms,
        "predicted_ms": predicted_ms,
        "warm_ms": 4.0,
        "floor_ms": 5.0,
        "loaded_bytes": 1000,
        "direct_host_access_bytes": 100,
        "repeats": 5,
        "stall_ms": 0.1,
    }


@pytest.fixture
def make_row() -> Any:
    return row


def floor_row(**fields: Any) -> dict[str, Any]:
    """A row of floors.json with made-up times; `floor_ms` is 5 unless given."""
    row = {
        **{"model": "one", "dtype": "fp32", "links": 1, "method": "deepplan", "coded": False},
        **{"cold_ms": 5.2, "cold_p99_ms": 9.0, "floor_ms": 5.0, "predicted_ms": 5.2, "warm_ms": 4.2, "repeats": 2},
        **{
            "graph_replay_ms": 4.0,
            "replayed": True,
            "launch": "graph",
            "crossing_bytes": 1000,
            "link_gbps": 50.0,
            "together_gbps": 90.0,
            "machine": "h100x4",
            "commit": "abc",
            "date": "2026-01-01 10:00",
            **fields,
        },
    }
    return {**row, "ratio": row["cold_ms"] / row["floor_ms"]}


@pytest.fixture
def make_floor_row() -> Any:
    return floor_row


def check_redrawing(name: str, document: dict[str, Any], folder: Path) -> None:
    """The script draws `document` in a process that then has neither torch nor the compiled core."""
    (folder / f"{name}.json").write_text(json.dumps(document))
    code = (
        f"import sys; sys.path.insert(0, {str(EXPERIMENTS)!r}); import {name}; "
        f"assert {name}.main(['--redraw', '--results', {str(folder)!r}, '--figures', {str(folder)!r}]) == 0; "
        "assert not {'torch', 'deepplan._core'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(name="check_redrawing")
def _check_redrawing() -> Any:
    return check_redrawing
