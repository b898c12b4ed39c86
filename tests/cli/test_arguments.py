from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deepplan.cli import arguments
from deepplan.errors import InvalidInputError, UnknownNameError


def test_devices_are_indices_or_names() -> None:
    assert arguments.device_list(["0", "host:2", "-1"]) == [0, "host:2", "-1"]


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    arguments.check_policy("paper")
    arguments.check_policy(None)
    with pytest.raises(UnknownNameError, match=r"'greedy'.*optimal"):
        arguments.check_policy("greedy")


def test_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    arguments.check_output_file("--json", "-", stdout=True)
    arguments.check_output_file("--json", "/dev/null")
    for name in ("", "-"):
        with pytest.raises(InvalidInputError, match="name a file"):
            arguments.check_output_file("--trace", name)
    arguments.check_output_file("--plot", str(tmp_path / "plan.PNG"), (".png",))
    with pytest.raises(InvalidInputError, match="ends in"):
        arguments.check_output_file("--plot", str(tmp_path / "plan.txt"), (".png",))
    with pytest.raises(InvalidInputError, match="no folder"):
        arguments.check_output_file("--json", str(tmp_path / "missing" / "x.json"))
    with pytest.raises(InvalidInputError, match="that is a folder"):
        arguments.check_output_file("--json", str(tmp_path))


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path: Path) -> None:
    arguments.check_output_folder("--folder", str(tmp_path / "a" / "b"))
    assert not list(tmp_path.iterdir())


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="is no folder"):
        arguments.check_output_folder("--folder", str(tmp_path / "file" / "plans"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="cannot write"):
        arguments.check_output_folder("--folder", "/proc/plans")


LONG = "x" * 5000


@pytest.mark.parametrize("name", [LONG, f"{LONG}.pt2"])
def test_a_name_that_is_too_long_is_no_model(run, name: str) -> None:
    done = run("plan", "-m", name)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_an_output_whose_name_is_too_long_is_refused(tmp_path: Path) -> None:
    for name in (LONG, str(tmp_path / LONG)):
        with pytest.raises(InvalidInputError, match="name too long"):
            arguments.check_output_file("--json", name)
        with pytest.raises(InvalidInputError, match="name too long"):
            arguments.check_output_folder("--output", name)
    with pytest.raises(InvalidInputError, match="no folder"):
        arguments.check_output_file("--json", f"{LONG}/x.json")


@pytest.mark.parametrize("prefix", ["", "host:"])
def test_a_device_of_thousands_of_digits_is_refused(run, tiny_folder: Path, prefix: str) -> None:
    done = run("plan", "-m", tiny_folder, "-d", prefix + "1" * 5000)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "111...' is no device" in done.err


CLOSED = """
import os, sys
from deepplan.cli import arguments
from deepplan.errors import InvalidInputError
if os.geteuid() == 0:
    os.seteuid(65534)  # nobody, who may not look into the folder
locked = sys.argv[1]
assert not arguments._is_exported(locked + "/model")
assert not arguments._is_exported(locked + "/model.pt2")
for check in (arguments.check_output_file, arguments.check_output_folder):
    try:
        check("--output", locked + "/x/y")
    except InvalidInputError as error:
        print(error)
"""


def test_what_lies_in_a_closed_folder_is_refused_without_a_traceback(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    try:
        done = subprocess.run([sys.executable, "-c", CLOSED, str(locked)], capture_output=True, text=True, check=True)
    finally:
        locked.chmod(0o700)
    first, second = done.stdout.splitlines()
    assert "closed to you" in first
    assert "cannot write" in second
