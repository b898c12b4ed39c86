from __future__ import annotations

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
    arguments.check_output_file("--json", "-")
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
