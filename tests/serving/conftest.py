from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from local_lookup import Lookup

import deepplan
from deepplan import models
from deepplan.serving.deployment import Deployment, ServedSource


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


@pytest.fixture(scope="session")
def lookup() -> torch.nn.Module:
    torch.manual_seed(0)
    return Lookup().eval().requires_grad_(False)


@pytest.fixture
def module(lookup: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """`lookup`, also the only model of the zoo, as "lookup"."""
    monkeypatch.setattr(models, "names", lambda: ("lookup",))
    monkeypatch.setattr(models, "default_dtype", lambda name: "fp32")
    monkeypatch.setattr(models, "build", lambda name, weights=None: lookup)
    return lookup


@pytest.fixture(scope="session")
def deployed(lookup: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Two instances of an exported folder, as another process can read it."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    with deepplan.load(lookup, deepplan.plan(lookup, devices=["host:0"])) as session:
        session.save(folder)
    return Deployment(models=(ServedSource(str(folder), instances=2),), devices=("host:0",))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where plans are kept, so that only the first start of an engine makes one."""
    return tmp_path_factory.mktemp("store")
