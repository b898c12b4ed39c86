import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepplan.errors import DocumentError, InvalidInputError
from deepplan.planning.documents import write_atomically
from deepplan.planning.plan import Plan
from deepplan.planning.profile import Profile
from deepplan.planning.simulator import simulate
from deepplan.planning.timeline import Timeline


@pytest.fixture
def profile(small_profile):
    return small_profile(2, model="tiny", devices=("cuda:0", "cuda:2"), machine="box", warm_ms=3.5)


@pytest.fixture(params=["profile", "plan", "timeline"])
def document(request, profile):
    if request.param == "profile":
        return profile
    plan = Plan.from_choices(profile, ["dha", "load", "dha", "load"], [-1, 0, -1, 1], [0, 1])
    return plan if request.param == "plan" else simulate(profile, plan)


def test_a_saved_document_loads_as_it_was(document, tmp_path):
    document.save(tmp_path / "document.json")
    assert type(document).load(str(tmp_path / "document.json")) == document


def test_format_and_version_come_first(document):
    data = json.loads(document.to_text())
    assert list(data)[:2] == ["format", "version"]
    assert data["format"] == f"deepplan.{type(document).__name__.lower()}"


def test_every_truncation_is_refused(document):
    text = document.to_text().encode()
    for length in range(len(text)):
        with pytest.raises(DocumentError):
            type(document).from_text(text[:length])


def places(data, path=()):
    """The paths of all values in JSON data."""
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def edited(data, path, edit):
    data = json.loads(json.dumps(data))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    edit(inner, path[-1])
    return data


BAD_VALUES = [{}, True, -1, -0.5, float("nan"), float("inf"), 1e999, 10**400, ["x", None]]


@pytest.mark.parametrize("bad", BAD_VALUES, ids=repr)
def test_every_value_of_a_wrong_kind_is_refused_by_file_and_key(document, bad, tmp_path):
    data = json.loads(document.to_text())
    for path in places(data):
        old = data
        for key in path:
            old = old[key]
        may_be_minus_one = path and path[-1] in ("group", "route") and bad == -1
        if not path or may_be_minus_one:
            continue
        broken = edited(data, path, lambda inner, key: inner.__setitem__(key, bad))
        with pytest.raises(DocumentError, match=r"broken\.json"):
            type(document).from_text(json.dumps(broken), "broken.json")


def test_a_missing_and_an_unknown_key_are_named(document):
    data = json.loads(document.to_text())
    for path in places(data):
        if path and isinstance(path[-1], str):
            broken = edited(data, path, lambda inner, key: inner.pop(key))
            with pytest.raises(DocumentError, match=path[-1]):
                type(document).from_text(json.dumps(broken))
            broken = edited(data, path, lambda inner, key: inner.update(colour="red"))
            with pytest.raises(DocumentError, match="colour"):
                type(document).from_text(json.dumps(broken))


def coded(profile):
    layers = [dataclasses.replace(layer, coded_bytes=layer.size_bytes // 2) for layer in profile.layers]
    return dataclasses.replace(profile, layers=layers, decode_gbps=100.0, coded_piece_bytes=1 << 20)


def test_coding_is_kept(profile):
    profile = coded(profile)
    plan = Plan.from_choices(profile, ["dha", "load", "dha", "load"], [-1, 0, -1, 1], [0, 1], coded=[True, False])
    assert Profile.from_text(profile.to_text()) == profile
    assert Plan.from_text(plan.to_text()) == plan and plan.coded == (True, False)


def test_what_does_not_use_coding_is_written_as_before_it_was_there(document):
    assert not {path[-1] for path in places(json.loads(document.to_text())) if path} & {
        *("coded", "coded_bytes", "decode_gbps", "coded_piece_bytes")
    }


@pytest.mark.parametrize("bad", [{}, True, -1, 0, 1e30, "x"], ids=repr)
@pytest.mark.parametrize("key", ["decode_gbps", "coded_piece_bytes"])
def test_bad_values_of_coding_are_refused_by_key(profile, key, bad):
    data = {**json.loads(coded(profile).to_text()), key: bad}
    with pytest.raises(DocumentError, match=key):
        Profile.from_text(json.dumps(data))


@pytest.mark.parametrize(
    "text",
    ["", "null", "3", "[]", "{}", "\xff\xfe", "[" * 100_000, '{"format": "deepplan.weights"}', "1" * 5000],
    ids=lambda text: text[:8],
)
def test_files_that_are_no_documents(text, tmp_path):
    path = tmp_path / "strange.json"
    path.write_bytes(text.encode("latin-1"))
    for kind in (Profile, Plan, Timeline):
        with pytest.raises(DocumentError, match=r"strange\.json"):
            kind.load(path)


@pytest.mark.parametrize("version", [1, -1, 100, "1", True, 1.0, None])
def test_another_version_is_refused(document, version):
    if version in (1, -1) and type(version) is int:
        version += type(document).VERSION
    text = json.dumps({**json.loads(document.to_text()), "version": version})
    with pytest.raises(DocumentError, match="version"):
        type(document).from_text(text)


def test_one_kind_of_document_is_not_another(document):
    for kind in {Profile, Plan, Timeline} - {type(document)}:
        with pytest.raises(DocumentError, match='"format" is'):
            kind.from_text(document.to_text())


def test_a_key_given_twice_is_refused(profile):
    text = profile.to_text().replace('"model": "tiny"', '"model": "a", "model": "b"')
    with pytest.raises(DocumentError, match="twice"):
        Profile.from_text(text)


def test_no_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DocumentError, match="No such file"):
        Profile.load(tmp_path / "none.json")
    with pytest.raises(DocumentError, match="cannot read"):
        Profile.load(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "plan.json", tmp_path / "file" / "plan.json", tmp_path / "folder"):
        with pytest.raises(InvalidInputError, match="cannot write"):
            write_atomically(path, "text")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path_cannot_be_written(path):
    with pytest.raises(InvalidInputError, match="cannot write"):
        write_atomically(path, "text")


def test_what_a_link_leads_to_is_replaced(tmp_path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    write_atomically(link, "new")
    assert link.is_symlink() and real.read_text() == "new"


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as executor:
        read = executor.submit(pipe.read_text)
        write_atomically(pipe, "text")
        assert read.result(10) == "text"
    assert pipe.is_fifo()


def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "profile.json"
    write_atomically(path, "old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("profile.json", "old")]
