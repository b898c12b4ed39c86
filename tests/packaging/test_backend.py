"""What the build backend asks for and passes on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[2]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The backend, imported and run as a front end does: from the source folder."""
    monkeypatch.syspath_prepend(str(SOURCE / "build_backend"))
    monkeypatch.chdir(SOURCE)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.delenv("DEEPPLAN_CUDA", raising=False)
    return importlib.import_module("deepplan_build")


def let_torch_be(monkeypatch: pytest.MonkeyPatch, backend: ModuleType, version: str | None) -> None:
    torch = backend.target_torch.Torch(Path("/env/torch"), version, "") if version else None
    monkeypatch.setattr(backend.target_torch, "find", lambda: torch)


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_torch_is_required_only_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, backend: ModuleType, kind: str
) -> None:
    requires = getattr(backend, f"get_requires_for_build_{kind}")

    let_torch_be(monkeypatch, backend, None)
    assert "torch>=2.11" in requires()
    let_torch_be(monkeypatch, backend, "2.13.0+cpu")
    assert not any(requirement.startswith("torch") for requirement in requires())


def test_a_source_archive_needs_no_torch(monkeypatch: pytest.MonkeyPatch, backend: ModuleType) -> None:
    let_torch_be(monkeypatch, backend, None)
    assert not any(requirement.startswith("torch") for requirement in backend.get_requires_for_build_sdist())


def test_uv_is_told_the_remedy(monkeypatch: pytest.MonkeyPatch, backend: ModuleType) -> None:
    let_torch_be(monkeypatch, backend, None)
    monkeypatch.setenv("UV", "/usr/bin/uv")
    with pytest.raises(SystemExit, match="uv pip install --no-build-isolation"):
        backend.get_requires_for_build_wheel()


def test_building_without_torch_is_refused(
    monkeypatch: pytest.MonkeyPatch, backend: ModuleType, tmp_path: Path
) -> None:
    let_torch_be(monkeypatch, backend, None)
    with pytest.raises(SystemExit, match="pip install torch"):
        backend.build_wheel(str(tmp_path))


@pytest.mark.parametrize(
    ("variable", "settings", "expected"),
    [
        (None, None, "AUTO"),
        ("OFF", None, "OFF"),
        ("OFF", {"DEEPPLAN_CUDA": "ON"}, "ON"),
        ("OFF", {"cmake.define.DEEPPLAN_CUDA": "ON"}, "ON"),
    ],
)
def test_the_build_is_told_the_torch_and_the_cuda_choice(
    monkeypatch: pytest.MonkeyPatch,
    backend: ModuleType,
    tmp_path: Path,
    variable: str | None,
    settings: dict[str, str] | None,
    expected: str,
) -> None:
    from scikit_build_core import build

    seen: dict[str, str] = {}
    monkeypatch.setattr(build, "build_wheel", lambda folder, settings, metadata: seen.update(settings) or "x.whl")
    let_torch_be(monkeypatch, backend, "2.13.0+cpu")
    if variable is not None:
        monkeypatch.setenv("DEEPPLAN_CUDA", variable)

    assert backend.build_wheel(str(tmp_path), settings) == "x.whl"

    assert seen == {
        "cmake.define.DEEPPLAN_CUDA": expected,
        "cmake.define.DEEPPLAN_TORCH": "ON",
        "cmake.define.DEEPPLAN_TORCH_DIR": str(Path("/env/torch")),
    }


def test_the_backend_needs_nothing_but_the_standard_library_to_be_imported() -> None:
    """A front end imports it before it has installed a single requirement that the backend itself names."""
    source = (SOURCE / "build_backend" / "deepplan_build" / "__init__.py").read_text()
    top_level = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    roots = {line.split()[1].split(".")[0] for line in top_level}
    assert roots - {"deepplan_build", "__future__"} <= sys.stdlib_module_names
