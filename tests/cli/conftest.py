"""The command line in this process, a folder of its own for plans, and a tiny exported model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deepplan.cli import main
from deepplan.export.capture import capture
from deepplan.export.folder import write_folder


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one command left: its exit code and its two streams."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`run("plan", "-m", ...)` as the command does it, with plans and profiles in a folder of the test's own."""
    monkeypatch.setenv("DEEPPLAN_HOME", str(tmp_path / "home"))

    def run_command(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return run_command


class Tiny(torch.nn.Module):
    """An embedding, which is cheap to read in place, and two products, which are not."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(500, 32)
        self.first = torch.nn.Linear(32, 64)
        self.second = torch.nn.Linear(64, 8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(self.table(tokens))))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, exported in fp32 for a batch of 2."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    captured = capture(Tiny().eval(), (torch.zeros(2, 4, dtype=torch.int64),), {})
    write_folder(folder, captured.graph, captured.storages, name="tiny", dtype="fp32", batch_size=2)
    return folder
