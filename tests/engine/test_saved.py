"""What lies in a store counts for a build that decodes weights as the one that left it there did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepplan.engine import saved
from deepplan.engine.devices import resolve_devices
from deepplan.engine.origin import origin_of
from deepplan.engine.source import resolve
from deepplan.engine.store import Store
from deepplan.planning.plan import Plan
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile
from deepplan.planning.search import search


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


class Case:
    """A linear on a host device, and profiles of it by a build that decodes, or does not."""

    def __init__(self) -> None:
        self.source = resolve(torch.nn.Linear(512, 512).eval(), torch.zeros(1, 512))
        self.devices = resolve_devices("host:0")

    def profile(self, decodes: bool) -> Profile:
        size_bytes = 512 * 513 * 4
        layer = LayerProfile(
            "", "Linear", size_bytes, 1.0, 0.01, None, coded_bytes=size_bytes // 2 if decodes else None
        )
        return Profile(
            layers=(layer,),
            links=(LinkProfile(0.001, 1.0),),
            decode_gbps=100.0 if decodes else None,
            **origin_of(self.source, self.devices).origin,
        )

    def plan(self, decodes: bool) -> Plan:
        plan = search(self.profile(decodes))
        assert any(plan.coded) == decodes
        return plan


@pytest.fixture
def case() -> Case:
    return Case()


def test_a_profile_is_of_a_build_that_decodes_or_of_one_that_does_not(
    store: Store, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    for decoded in (False, True):
        profile = case.profile(decoded)
        store.save_profile(profile)
        store.save_plan(case.plan(decoded))
        for decodes in (False, True):
            monkeypatch.setattr(saved, "can_cross_coded", lambda *_, decodes=decodes: decodes)
            assert saved.saved_profile(store, case.source, case.devices) == (profile if decodes == decoded else None)
            found = saved.saved_plan(store, case.source, case.devices, "optimal")
            assert (found is not None) == (decodes == decoded)


def test_a_plan_by_itself_has_to_be_possible(store: Store, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save_plan(case.plan(True))
    store.save_plan(case.plan(False), coding=False)
    monkeypatch.setattr(saved, "can_cross_coded", lambda *_: False)
    assert saved.saved_plan(store, case.source, case.devices, "optimal") is None
    assert saved.saved_plan(store, case.source, case.devices, "optimal", coding=False) is not None


def test_nothing_is_found_where_nothing_lies(store: Store, case: Case) -> None:
    assert saved.saved_profile(store, case.source, case.devices) is None
    assert saved.saved_plan(store, case.source, case.devices, "optimal") is None
