from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from local_lookup import Lookup

from deepplan import models


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a trace's text to a file and returns its path."""

    def write_text(text: str) -> Path:
        path = tmp_path / "trace.csv"
        path.write_text(text)
        return path

    return write_text


@pytest.fixture(params=["host:0", pytest.param("cuda:0", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """Also the only model of the zoo, as "lookup"."""
    torch.manual_seed(0)
    module = Lookup().eval().requires_grad_(False)
    monkeypatch.setattr(models, "names", lambda: ("lookup",))
    monkeypatch.setattr(models, "default_dtype", lambda name: "fp32")
    monkeypatch.setattr(models, "build", lambda name, weights=None: module)
    return module
