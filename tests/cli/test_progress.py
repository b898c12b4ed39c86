from __future__ import annotations

import io
import re

import pytest

from deepplan.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_each_finished_step_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("profiling tiny") as report:
        report(0.5)
        assert capsys.readouterr() == ("", "")
    assert re.fullmatch(r"deepplan: profiling tiny: 0\.\d s\n", capsys.readouterr().err)


def test_a_step_that_fails_says_nothing_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress("profiling tiny"):
        raise KeyboardInterrupt
    assert capsys.readouterr() == ("", "")


def test_in_a_terminal_a_bar_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("profiling tiny") as report:
        for share in (0.0, 0.5, 0.4, 1.0):
            report(share)
    assert "profiling tiny" in terminal.getvalue()
    assert not terminal.getvalue().endswith("\n")
