"""Which torch the build takes: the target environment's, seen past pip's build isolation."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

PROBE = Path(__file__).parents[2] / "build_backend" / "deepplan_build" / "target_torch.py"


def make_torch(site: Path, version: str, cuda: str | None = None, headers: bool = True) -> Path:
    """Writes what the probe looks at: the package's version file and one header."""
    directory = site / "torch"
    (directory / "include" / "ATen").mkdir(parents=True)
    (directory / "__init__.py").touch()
    (directory / "version.py").write_text(
        f"from typing import Optional\n__version__ = {version!r}\ncuda: Optional[str] = {cuda!r}\n"
    )
    if headers:
        (directory / "include" / "ATen" / "ATen.h").touch()
    return directory


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with nothing in it."""
    venv.create(tmp_path / "venv", with_pip=False)
    return tmp_path / "venv"


def site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python*")) / "site-packages"


def probe(environment: Path, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(environment / "bin" / "python"), str(PROBE), *arguments]
    return subprocess.run(command, env=clean | variables, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_targets_torch_is_seen_past_build_isolation(environment: Path, tmp_path: Path) -> None:
    target = make_torch(site_packages(environment), "2.13.0+cpu")
    make_torch(tmp_path / "overlay", "2.99.0")
    isolation = {"PYTHONPATH": str(tmp_path / "overlay"), "PYTHONNOUSERSITE": "1"}

    answer = probe(environment, cwd=tmp_path, **isolation)

    assert answer.stdout.strip() == f"{target};2.13.0+cpu;none", answer.stderr


def test_the_build_environments_torch_serves_where_the_target_has_none(environment: Path, tmp_path: Path) -> None:
    overlay = make_torch(tmp_path / "overlay", "2.15.0", cuda="13.2")

    answer = probe(environment, cwd=tmp_path, PYTHONPATH=str(tmp_path / "overlay"))

    assert answer.stdout.strip() == f"{overlay};2.15.0;13.2", answer.stderr


def test_a_folder_called_torch_where_the_build_runs_is_not_taken(environment: Path, tmp_path: Path) -> None:
    make_torch(tmp_path, "2.13.0")

    answer = probe(environment, cwd=tmp_path)

    assert answer.returncode == 1
    assert "has no torch" in answer.stderr and "pip install torch" in answer.stderr


def test_a_given_folder_wins(environment: Path, tmp_path: Path) -> None:
    make_torch(site_packages(environment), "2.13.0")
    given = make_torch(tmp_path / "given", "2.14.1")

    assert probe(environment, str(given), cwd=tmp_path).stdout.strip() == f"{given};2.14.1;none"


@pytest.mark.parametrize(
    ("version", "headers", "said"),
    [("2.9.1+cu128", True, "too old"), ("1.13.0", True, "too old"), ("2.13.0", False, "without its C++ headers")],
)
def test_an_unusable_torch_is_refused_not_replaced(
    environment: Path, tmp_path: Path, version: str, headers: bool, said: str
) -> None:
    make_torch(site_packages(environment), version, headers=headers)

    answer = probe(environment, cwd=tmp_path)

    assert answer.returncode == 1
    assert said in answer.stderr and version in answer.stderr
    assert "Traceback" not in answer.stderr
