"""csrc/kernels are built where there is an nvcc that works, and the build goes on without them where there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

KERNELS_CMAKE = Path(__file__).parents[2] / "cmake" / "Kernels.cmake"
PROJECT = f"""
cmake_minimum_required(VERSION 3.22)
project(probe LANGUAGES CXX)
add_library(deepplan_cuda INTERFACE)
include("{KERNELS_CMAKE}")
"""


def configure(folder: Path, *definitions: str, **variables: str) -> str:
    """What cmake printed, on one line; it must not have failed."""
    (folder / "CMakeLists.txt").write_text(PROJECT)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CUDA")}
    answer = subprocess.run(
        ["cmake", "-S", ".", "-B", "build", *definitions],
        cwd=folder,
        env=inherited | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return " ".join(answer.stdout.split())


def add_broken_nvcc(root: Path) -> Path:
    nvcc = root / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'error: unsupported GNU version' >&2; exit 1\n")
    nvcc.chmod(0o755)
    return nvcc


def with_cuda_at(root: Path) -> tuple[str, str]:
    return "-DDEEPPLAN_CUDA_FOUND=TRUE", f"-DDEEPPLAN_CUDA_ROOT={root}"


def test_no_cuda_support_means_no_kernels(tmp_path: Path) -> None:
    assert "CUDA kernels: none (no CUDA support)" in configure(tmp_path, "-DDEEPPLAN_CUDA_FOUND=FALSE")


def test_without_an_nvcc_the_build_goes_on(tmp_path: Path) -> None:
    assert f"CUDA kernels: none (no nvcc at {tmp_path}/bin)" in configure(tmp_path, *with_cuda_at(tmp_path))


@pytest.mark.parametrize("again", [False, True])
def test_with_an_nvcc_that_cannot_compile_the_build_goes_on(tmp_path: Path, again: bool) -> None:
    nvcc = add_broken_nvcc(tmp_path)
    if again:
        configure(tmp_path, *with_cuda_at(tmp_path))
    said = configure(tmp_path, *with_cuda_at(tmp_path))
    assert f"CUDA kernels: none ({nvcc} cannot compile" in said and "CUDAHOSTCXX" in said


def test_cudacxx_names_another_nvcc(tmp_path: Path) -> None:
    other = add_broken_nvcc(tmp_path)
    said = configure(tmp_path, *with_cuda_at(tmp_path / "nowhere"), CUDACXX=str(other))
    assert f"CUDA kernels: none ({other} cannot compile" in said
