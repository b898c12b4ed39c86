"""`import deepplan` is cheap, and everything it names is there when it is asked for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest

import deepplan

HEAVY = ("torch", "transformers", "matplotlib", "deepplan._native")


def loaded_after(statement: str) -> list[str]:
    """Which of the HEAVY modules a fresh interpreter has loaded after `statement`."""
    program = f"import sys\n{statement}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    with tempfile.TemporaryDirectory() as elsewhere:  # `-c` looks for modules in the current folder first
        answer = subprocess.run(
            [sys.executable, "-c", program], cwd=elsewhere, capture_output=True, text=True, check=True
        )
    return answer.stdout.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import deepplan",
        "import deepplan; dir(deepplan); deepplan.__version__",
        "from deepplan import Plan, Profile, LayerProfile, LinkProfile, Timeline, DeepPlanError",
        "from deepplan import search, simulate",
        "import deepplan.cli",
    ],
)
def test_planning_needs_neither_torch_nor_the_extension(statement: str) -> None:
    assert loaded_after(statement) == []


@pytest.mark.parametrize("name", deepplan.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(deepplan, name) is not None
    assert name in dir(deepplan)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = deepplan.nothing_like_this


def test_the_version_is_the_distributions() -> None:
    assert metadata.version("deepplan") == deepplan.__version__


def test_the_package_ships_its_types_and_profiles() -> None:
    source, installed = Path(__file__).parents[2] / "deepplan", Path(deepplan.__file__).parent
    for pattern in ("py.typed", "_core.pyi", "profiles/**/*.json"):
        expected = {file.relative_to(source) for file in source.glob(pattern)}
        assert {file.relative_to(installed) for file in installed.glob(pattern)} == expected
