"""Exit codes and streams of the real command, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import deepplan
from deepplan.cli import doctor

DEEPPLAN = [sys.executable, "-m", "deepplan.cli"]


def command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEEPPLAN, *arguments], capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_the_version_goes_to_stdout(tmp_path: Path) -> None:
    done = command("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"deepplan {deepplan.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["plan", "--help"],
        ["benchmark", "--help"],
        ["client", "--help"],
        ["serve", "--help"],
        ["doctor", "--help"],
    ],
)
def test_help_needs_no_torch(arguments: list[str], tmp_path: Path) -> None:
    program = (
        "import sys\nfrom deepplan.cli import main\n"
        f"try:\n  main({arguments!r})\nexcept SystemExit as end:\n  assert end.code == 0\n"
        "assert not {'torch', 'deepplan._native', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: deepplan" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "COMMAND"),
        (["nosuch"], "'nosuch'"),
        (["serve", "--nosuch"], "--nosuch"),
        (["plan"], "--model"),
        (["plan", "-m", "nosuch", "--nosuch"], "--nosuch"),
        (["benchmark", "-m", "nosuch", "-b", "two"], "'two'"),
    ],
)
def test_what_argparse_refuses_is_one_line(arguments: list[str], named: str, tmp_path: Path) -> None:
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nowhere:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from deepplan.cli import main; sys.exit(main(['doctor', '--json']))"],
            cwd=tmp_path,
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 141
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_interruption_is_one_line_and_leaves_no_file(tmp_path: Path, tiny_folder: Path) -> None:
    plans, result = tmp_path / "plans", tmp_path / "result.json"
    arguments = ["-m", str(tiny_folder), "-p", str(plans), "--repeat", "100000000", "--json", str(result)]
    running = subprocess.Popen(
        [*DEEPPLAN, "benchmark", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with this signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "searching" in line:
            break
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "deepplan: interrupted\n")
    assert not list(tmp_path.rglob("*.partial")) and not result.exists()


def test_a_defect_keeps_its_traceback(tmp_path: Path) -> None:
    program = (
        "import sys; from deepplan import cli; from deepplan.cli import doctor\n"
        "doctor.run = lambda arguments: 1 // 0\nsys.exit(cli.main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory.\nTried"),
        RuntimeError("... can't allocate memory: 6 TB"),
    ],
)
def test_too_little_memory_is_no_defect(error: Exception, run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr(doctor, "run", fail)
    done = run("doctor")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "memory" in done.err
