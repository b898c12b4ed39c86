from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deepplan.engine.devices import Devices


def test_a_result_on_host_devices_names_no_gpu() -> None:
    from provenance import provenance

    found = provenance(Devices(("host:0", "host:1")), commit="abc")
    assert found["machine"].startswith("host")
    assert (found["gpus"], found["cuda"], found["driver"], found["commit"]) == ([], None, None, "abc")


def test_only_the_date_may_differ_within_one_table() -> None:
    from provenance import provenance, same_setup

    found = provenance(Devices(("host:0",)), commit="abc")
    assert same_setup(found, {**found, "date": "1999-01-01"})
    assert not same_setup(found, {**found, "commit": "def"})
    assert not same_setup(found, {**found, "driver": "1.0"})


def test_measured_profiles_are_no_change_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import provenance

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)
        return done.stdout.decode().strip()

    (tmp_path / "deepplan" / "profiles").mkdir(parents=True)
    (tmp_path / "deepplan" / "api.py").touch()
    git("init")
    git("add", ".")
    git("commit", "-m", "Begin")
    commit = git("rev-parse", "HEAD")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "deepplan" / "profiles" / "one.json").touch()
    assert provenance.provenance(Devices(("host:0",)))["commit"] == commit
    (tmp_path / "deepplan" / "api.py").write_text("changed")
    assert provenance.provenance(Devices(("host:0",)))["commit"] == f"{commit} with changes"
