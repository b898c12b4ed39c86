from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepplan.engine.store import Store, default_folder
from deepplan.errors import DocumentError, InvalidInputError
from deepplan.planning.plan import Plan
from deepplan.planning.profile import LayerProfile, LinkProfile, Origin, Profile
from deepplan.planning.search import search

ORIGIN = Origin(
    model="resnet50",
    model_digest="0123abcd",
    dtype="fp32",
    batch_size=1,
    machine="h200x4",
    devices=("cuda:0", "cuda:2"),
    torch="2.11.0+cu130",
)
OTHERS: list[dict[str, Any]] = [
    {"model": "resnet101"},
    {"model_digest": "9999"},
    {"dtype": "tf32"},
    {"batch_size": 2},
    {"machine": "h100x1"},
    {"devices": ("cuda:2", "cuda:0")},
    {"torch": "2.13.0+cpu"},
]


def profile_of(origin: Origin, execute_ms: float = 0.5) -> Profile:
    layers = (
        LayerProfile("fc", "Linear", 1 << 20, 1.0, execute_ms, 2.0),
        LayerProfile("relu", "ReLU", 0, 0, 0.1, None),
    )
    return Profile(layers=layers, links=(LinkProfile(0.01, 20.0),) * len(origin.devices), **origin.origin)


def plan_of(origin: Origin, policy: str = "optimal") -> Plan:
    return search(profile_of(origin), policy)


def test_finds_what_was_saved(tmp_path: Path) -> None:
    store = Store(tmp_path / "made" / "when needed")
    assert store.find_profile(ORIGIN) is None
    assert store.find_plan(ORIGIN, "optimal") is None

    profile, plan = profile_of(ORIGIN), plan_of(ORIGIN)
    assert store.save_profile(profile) == store.profile_path(ORIGIN)
    assert store.save_plan(plan) == store.plan_path(ORIGIN, "optimal")

    again = Store(tmp_path / "made" / "when needed")
    assert again.find_profile(ORIGIN) == profile
    assert again.find_plan(ORIGIN, "optimal") == plan
    assert again.find_plan(profile, "optimal") == plan  # a profile is an origin, too


def test_the_newest_replaces_the_older(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_profile(profile_of(ORIGIN, execute_ms=0.5))
    store.save_profile(profile_of(ORIGIN, execute_ms=0.7))
    found = store.find_profile(ORIGIN)
    assert found is not None and found.layers[0].execute_ms == 0.7
    assert len(list(tmp_path.iterdir())) == 1


def test_plans_go_with_the_profile_they_were_made_from(tmp_path: Path) -> None:
    store = Store(tmp_path)
    elsewhere = replace(ORIGIN, model="resnet101")
    store.save_profile(profile_of(ORIGIN))
    for policy in ("optimal", "paper"):
        store.save_plan(plan_of(ORIGIN, policy))
        store.save_plan(plan_of(ORIGIN, policy), coding=False)
    store.save_plan(plan_of(elsewhere))
    store.save_profile(profile_of(ORIGIN, execute_ms=0.7))
    for policy in ("optimal", "paper"):
        assert store.find_plan(ORIGIN, policy) is None and store.find_plan(ORIGIN, policy, coding=False) is None
    assert store.find_plan(elsewhere, "optimal") is not None


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_every_field_of_the_origin_counts(tmp_path: Path, other: dict[str, Any]) -> None:
    store = Store(tmp_path)
    store.save_profile(profile_of(ORIGIN))
    store.save_plan(plan_of(ORIGIN))
    elsewhere = replace(ORIGIN, **other)
    assert store.find_profile(elsewhere) is None
    assert store.find_plan(elsewhere, "optimal") is None


def test_plans_of_other_policies_lie_side_by_side(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for policy in ("optimal", "load_all"):
        store.save_plan(plan_of(ORIGIN, policy))
    assert store.find_plan(ORIGIN, "paper") is None
    for policy in ("optimal", "load_all"):
        found = store.find_plan(ORIGIN, policy)
        assert found is not None and found.policy == policy


def test_plans_with_and_without_coding_lie_side_by_side(tmp_path: Path) -> None:
    profile = profile_of(ORIGIN)
    layers = tuple(replace(layer, execute_ms=0.001, coded_bytes=layer.size_bytes // 2) for layer in profile.layers)
    profile = replace(profile, layers=layers, decode_gbps=1000.0)
    with_coding, without = search(profile), search(profile, coding=False)
    assert any(with_coding.coded)
    store = Store(tmp_path)
    store.save_plan(with_coding)
    assert store.find_plan(ORIGIN, "optimal", coding=False) is None
    store.save_plan(without, coding=False)
    assert store.find_plan(ORIGIN, "optimal") == with_coding
    assert store.find_plan(ORIGIN, "optimal", coding=False) == without
    with_coding.save(store.plan_path(ORIGIN, "optimal", coding=False))
    assert store.find_plan(ORIGIN, "optimal", coding=False) is None


def test_a_document_of_another_origin_under_the_name_is_not_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    profile_of(replace(ORIGIN, torch="2.13.0")).save(store.profile_path(ORIGIN))
    plan_of(ORIGIN, "load_all").save(store.plan_path(ORIGIN, "optimal"))
    assert store.find_profile(ORIGIN) is None
    assert store.find_plan(ORIGIN, "optimal") is None


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-1], lambda text: "", lambda text: text.replace('"torch"', '"x"')]
)
def test_a_damaged_document_is_named_with_the_remedy(tmp_path: Path, damage: Any) -> None:
    store = Store(tmp_path)
    for path in (store.save_profile(profile_of(ORIGIN)), store.save_plan(plan_of(ORIGIN))):
        path.write_text(damage(path.read_text()))
    with pytest.raises(DocumentError, match=rf"delete {store.profile_path(ORIGIN)} and"):
        store.find_profile(ORIGIN)
    with pytest.raises(DocumentError, match=rf"delete {store.plan_path(ORIGIN, 'optimal')} and"):
        store.find_plan(ORIGIN, "optimal")


@pytest.mark.parametrize(
    ("model", "start"), [("resnet50", "resnet50-"), ("../a b/c", "a-b-c-"), ("", "model-"), ("é" * 300, "model-")]
)
def test_file_names_are_readable_and_stay_in_the_folder(tmp_path: Path, model: str, start: str) -> None:
    path = Store(tmp_path).save_profile(profile_of(replace(ORIGIN, model=model, dtype="")))
    assert path.parent == tmp_path
    assert path.name.startswith(f"{start}as-is-b1-")
    assert path.name.endswith(".profile.json")


def test_ensure_writable_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    Store(folder).ensure_writable()
    assert folder.is_dir() and not list(folder.iterdir())


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / below)
    for attempt in (store.ensure_writable, lambda: store.save_profile(profile_of(ORIGIN))):
        with pytest.raises(InvalidInputError, match=r"cannot write to the folder .*file.*-p"):
            attempt()
    assert store.find_profile(ORIGIN) is None


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DEEPPLAN_HOME", str(tmp_path / "mine"))
    assert Store("given").folder == Path("given")
    assert default_folder() == Store().folder == tmp_path / "mine"
    monkeypatch.setenv("DEEPPLAN_HOME", "")
    assert default_folder() == tmp_path / "cache" / "deepplan"
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert default_folder() == tmp_path / ".cache" / "deepplan"


def test_needs_no_torch() -> None:
    code = "import sys, deepplan.engine.store; sys.exit('torch' in sys.modules or 'deepplan._core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
