"""DEEPPLAN_CUDA = AUTO | ON | OFF: what CMake takes, and what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CUDA_CMAKE = Path(__file__).parents[2] / "cmake" / "Cuda.cmake"
PROJECT = f"""
cmake_minimum_required(VERSION 3.22)
project(probe LANGUAGES NONE)
set(DEEPPLAN_TORCH_FOUND TRUE)
include("{CUDA_CMAKE}")
"""


@dataclass(frozen=True)
class Machine:
    """A folder in which a toolkit and a torch may lie, and nothing else is looked at."""

    root: Path

    def add_header(self, path: str, text: str = "") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def add_cuda(self, folder: str, version: int, crt: bool = True) -> Path:
        root = self.root / folder
        self.add_header(f"{folder}/include/cuda_runtime_api.h", f"#define CUDART_VERSION  {version}\n")
        if crt:
            self.add_header(f"{folder}/include/crt/host_defines.h")
        (root / "lib").mkdir()
        (root / "lib" / "libcudart_static.a").touch()
        return root

    def configure(self, *definitions: str, **variables: str) -> str:
        """What cmake printed, on one line; `failed: ` goes before it where cmake failed."""
        (self.root / "CMakeLists.txt").write_text(PROJECT)
        shutil.rmtree(self.root / "build", ignore_errors=True)
        command = ["cmake", "-S", ".", "-B", "build", f"-Dtorch_dir={self.root}/site/torch", *definitions]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CUDA", "DEEPPLAN"))}
        answer = subprocess.run(
            command, cwd=self.root, env=inherited | variables, capture_output=True, text=True, check=False
        )
        printed = " ".join((answer.stdout + answer.stderr).split())
        return printed if answer.returncode == 0 else f"failed: {printed}"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def nothing_but(root: Path) -> str:
    return f"-DDEEPPLAN_CUDA_ROOTS={root}"


def test_auto_takes_a_toolkit_before_torchs_files(machine: Machine) -> None:
    toolkit = machine.add_cuda("toolkit", 12080)
    machine.add_cuda("site/nvidia/cu13", 13020)
    assert f"CUDA support: 12.8 (toolkit) at {toolkit}" in machine.configure(nothing_but(toolkit))


@pytest.mark.parametrize("folder", ["site/nvidia/cu13", "site/nvidia/cuda_runtime"])
@pytest.mark.parametrize("choice", ["AUTO", "ON"])
def test_without_a_toolkit_torchs_files_do(machine: Machine, folder: str, choice: str) -> None:
    brought = machine.add_cuda(folder, 13020)
    said = machine.configure(nothing_but(machine.root / "nowhere"), f"-DDEEPPLAN_CUDA={choice}")
    assert f"CUDA support: 13.2 (brought by torch) at {brought}" in said


def test_headers_that_cuda_13s_packages_leave_out_are_taken_from_triton(machine: Machine) -> None:
    brought = machine.add_cuda("site/nvidia/cu13", 13020, crt=False)
    nowhere = nothing_but(machine.root / "nowhere")
    assert "CUDA support: none" in machine.configure(nowhere)
    machine.add_header("site/triton/backends/nvidia/include/crt/host_defines.h")
    assert f"CUDA support: 13.2 (brought by torch) at {brought}" in machine.configure(nowhere)


def test_cuda_home_is_looked_at_first(machine: Machine) -> None:
    toolkit = machine.add_cuda("toolkit", 13000)
    assert f"CUDA support: 13.0 (toolkit) at {toolkit}" in machine.configure(CUDA_HOME=str(toolkit))


def test_auto_with_neither_builds_for_the_host(machine: Machine) -> None:
    assert "CUDA support: none (host device only)" in machine.configure(nothing_but(machine.root / "nowhere"))


def test_a_toolkit_too_old_is_passed_over(machine: Machine) -> None:
    toolkit = machine.add_cuda("toolkit", 11080)
    assert "CUDA support: none" in machine.configure(nothing_but(toolkit))


def test_on_with_neither_fails_with_the_remedy(machine: Machine) -> None:
    said = machine.configure(nothing_but(machine.root / "nowhere"), "-DDEEPPLAN_CUDA=ON")
    assert said.startswith("failed:")
    assert "Install the CUDA toolkit" in said and "DEEPPLAN_CUDA=OFF" in said


def test_off_wins_over_a_toolkit_and_a_definition_over_the_environment(machine: Machine) -> None:
    toolkit = machine.add_cuda("toolkit", 13000)
    assert "CUDA support: none" in machine.configure(nothing_but(toolkit), DEEPPLAN_CUDA="off")
    assert "CUDA support: 13.0" in machine.configure(nothing_but(toolkit), "-DDEEPPLAN_CUDA=ON", DEEPPLAN_CUDA="OFF")


def test_another_word_is_refused(machine: Machine) -> None:
    said = machine.configure(DEEPPLAN_CUDA="maybe")
    assert said.startswith("failed:") and "'MAYBE': it must be AUTO, ON or OFF" in said
