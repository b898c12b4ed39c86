from __future__ import annotations

import math
from pathlib import Path

import pytest

from deepplan.engine import topology
from deepplan.engine.topology import LinkSurvey, device_names, device_sets, measure_links, survey_links


@pytest.fixture(autouse=True)
def small_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "_PROBE_BYTES", 1 << 20)


def test_few_devices_are_measured_in_every_combination() -> None:
    assert device_sets(["a", "b", "c"]) == [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]


def test_of_many_devices_only_pairs_and_all_are_combined() -> None:
    sets = device_sets([str(index) for index in range(8)])
    assert len(sets) == 8 + math.comb(8, 2) + 1
    assert len(sets[-1]) == 8


def test_the_rates_of_each_set_are_measured() -> None:
    shares: list[float] = []
    survey = measure_links(device_names("host")[:2], shares.append)
    assert [rates.devices for rates in survey.rates] == [("host:0",), ("host:1",), ("host:0", "host:1")]
    assert survey.rates[0].total_gbps == pytest.approx(4, rel=0.5)
    assert shares[-1] == 1


def test_a_survey_is_kept_and_measured_again_when_the_machine_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    first = survey_links(["host:0"], folder)
    (path,) = folder.iterdir()
    assert LinkSurvey.load(path) == first
    assert survey_links(["host:0"], folder) == first

    monkeypatch.setattr(topology, "_pci_bus_ids", lambda devices: ("0000:1b:00.0",))
    moved = survey_links(["host:0"], folder)
    assert moved.pci_bus_ids == ("0000:1b:00.0",)
    path.write_text("{")
    assert survey_links(["host:0"], folder).pci_bus_ids == moved.pci_bus_ids
