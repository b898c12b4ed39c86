"""deepplan's build backend (PEP 517, PEP 660): scikit-build-core, told which torch to build against.

An extension that links LibTorch must be built against the very torch it will run with. Named as a plain build
requirement, torch would be the newest one in the isolated build environment, whatever the user has installed. So this
backend looks into the target environment first and asks for torch only where there is none; then the build and the
installation resolve `torch` alike. See target_torch.py for how it looks past the isolation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from deepplan_build import target_torch

ConfigSettings = Mapping[str, "str | list[str]"] | None

UV_REMEDY = (
    "deepplan: uv hides the installed torch from the build, so deepplan could be built against another one. "
    "Build without isolation instead:\n"
    "  uv pip install torch scikit-build-core pybind11 cmake ninja\n"
    "  uv pip install --no-build-isolation ."
)
NO_TORCH = "deepplan: there is no torch to build against. Get one first: pip install torch"


def _settings(config_settings: ConfigSettings) -> dict[str, str | list[str]]:
    """The caller's settings with ours in scikit-build-core's spelling: DEEPPLAN_CUDA=OFF is a CMake definition."""
    return {
        f"cmake.define.{key}" if key.startswith("DEEPPLAN_") else key: value
        for key, value in (config_settings or {}).items()
    }


def _build_settings(config_settings: ConfigSettings) -> dict[str, str | list[str]]:
    """The settings of one build. Written out each time, so that none is left over in a cached build folder."""
    try:
        torch = target_torch.find()
    except target_torch.UnusableTorchError as error:
        raise SystemExit(str(error)) from error
    if torch is None:
        raise SystemExit(NO_TORCH)
    return {
        "cmake.define.DEEPPLAN_CUDA": os.environ.get("DEEPPLAN_CUDA") or "AUTO",
        **_settings(config_settings),
        "cmake.define.DEEPPLAN_TORCH": "ON",
        "cmake.define.DEEPPLAN_TORCH_DIR": os.fspath(torch.directory),
    }


def _torch_requirement() -> list[str]:
    try:
        torch = target_torch.find()
    except target_torch.UnusableTorchError as error:
        raise SystemExit(str(error)) from error
    if torch is not None:
        return []
    if os.environ.get("UV"):
        raise SystemExit(UV_REMEDY)
    return [f"torch>={'.'.join(map(str, target_torch.OLDEST))}"]


def get_requires_for_build_wheel(config_settings: ConfigSettings = None) -> list[str]:
    """What the build needs beside pyproject.toml's list: cmake and ninja, torch, each only where it is missing."""
    from scikit_build_core import build

    return [*build.get_requires_for_build_wheel(_settings(config_settings)), *_torch_requirement()]


def get_requires_for_build_editable(config_settings: ConfigSettings = None) -> list[str]:
    """As for a wheel."""
    from scikit_build_core import build

    return [*build.get_requires_for_build_editable(_settings(config_settings)), *_torch_requirement()]


def get_requires_for_build_sdist(config_settings: ConfigSettings = None) -> list[str]:
    """A source archive needs no torch."""
    from scikit_build_core import build

    return build.get_requires_for_build_sdist(_settings(config_settings))


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: ConfigSettings = None) -> str:
    """Writes the .dist-info folder; nothing is compiled."""
    from scikit_build_core import build

    return build.prepare_metadata_for_build_wheel(metadata_directory, _settings(config_settings))


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: ConfigSettings = None) -> str:
    """Writes the .dist-info folder; nothing is compiled."""
    from scikit_build_core import build

    return build.prepare_metadata_for_build_editable(metadata_directory, _settings(config_settings))


def build_wheel(
    wheel_directory: str, config_settings: ConfigSettings = None, metadata_directory: str | None = None
) -> str:
    """Compiles against the target's torch and writes the wheel; returns its file name."""
    from scikit_build_core import build

    return build.build_wheel(wheel_directory, _build_settings(config_settings), metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: ConfigSettings = None, metadata_directory: str | None = None
) -> str:
    """As build_wheel, for `pip install -e .`."""
    from scikit_build_core import build

    return build.build_editable(wheel_directory, _build_settings(config_settings), metadata_directory)


def build_sdist(sdist_directory: str, config_settings: ConfigSettings = None) -> str:
    """Writes the source archive; returns its file name."""
    from scikit_build_core import build

    return build.build_sdist(sdist_directory, _settings(config_settings))
