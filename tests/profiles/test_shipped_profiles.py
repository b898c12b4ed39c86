from __future__ import annotations

from pathlib import Path

import pytest

from deepplan import InvalidInputError, LayerProfile, LinkProfile, Profile, UnknownNameError, profiles


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    profile = Profile(
        layers=(LayerProfile("fc", "Linear", 4_000_000, 0.1, 0.05, 0.4),), links=(LinkProfile(0.01, 50.0),), model="net"
    )
    (tmp_path / "box2").mkdir()
    (tmp_path / "empty").mkdir()
    profile.save(tmp_path / "box2" / "net-fp32-b1.json")
    monkeypatch.setattr(profiles, "_FOLDER", tmp_path)
    return tmp_path


def test_a_machine_has_profiles(folder: Path) -> None:
    assert profiles.machines() == ("box2",)
    assert profiles.shipped_profile("box2", "net").model == "net"


def test_what_was_not_measured_is_refused_with_what_was(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="box2"):
        profiles.shipped_profile("box3", "net")
    with pytest.raises(UnknownNameError, match="net-fp32-b1"):
        profiles.shipped_profile("box2", "net", dtype="bf16")
    with pytest.raises(InvalidInputError, match="zoo name"):
        profiles.shipped_profile("box2", object())


@pytest.mark.parametrize("machine", profiles.machines())
def test_each_shipped_profile_is_sound_and_named_for_what_it_is(machine: str) -> None:
    for path in (Path(profiles.__file__).parent / machine).iterdir():
        profile = Profile.load(path)
        assert (profile.machine, path.stem) == (machine, f"{profile.model}-{profile.dtype}-b{profile.batch_size}")
        assert profile.devices and profile.torch and profile.model_digest
