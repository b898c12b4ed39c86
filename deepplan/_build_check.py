"""Compares the torch at hand with the torch that deepplan was built against."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from deepplan.errors import BuildError

REINSTALL = "install deepplan again from its source folder: pip install --no-deps ."


@dataclass(frozen=True)
class BuiltWith:
    """What the build recorded: torch's full version, the CUDA of that torch ("none": a CPU build), our CUDA support."""

    torch_version: str
    torch_cuda: str
    cuda_support: str


def built_with() -> BuiltWith:
    """What deepplan was built with, without importing torch. Raises BuildError where nothing was built."""
    try:
        record = importlib.import_module("deepplan._built_with")
    except ModuleNotFoundError as error:
        raise BuildError(
            "deepplan's compiled part is missing: this is a source folder, not an installed package. Run "
            "`pip install .` there and start Python elsewhere, or build with cmake (see CONTRIBUTING.md)"
        ) from error
    return BuiltWith(record.TORCH_VERSION, record.TORCH_CUDA, record.CUDA_SUPPORT)


def check_build() -> None:
    """Imports torch; raises BuildError unless it is the version, local part included, of the build."""
    built = built_with()
    try:
        import torch
    except (ImportError, OSError) as error:  # the latter for a library that torch itself loads
        raise BuildError(f"torch {built.torch_version} is needed and cannot be imported: {error}") from error
    if str(torch.__version__) != built.torch_version:
        raise BuildError(
            f"deepplan was built against torch {built.torch_version}, but torch {torch.__version__} is installed. "
            f"To use this torch, {REINSTALL}"
        )
