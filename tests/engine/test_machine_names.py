"""A host device is its processor and its links; what a process holds of it is made once, however many ask at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.errors import InvalidInputError

HOST = Devices(("host:0", "host:1"))


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str, int], None]]:
    """`processor(model, cores)` for one test."""

    def become(model: str, cores: int) -> None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: {model}\nmodel\t\t: 17\n")
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        machine._processor_model.cache_clear()

    monkeypatch.setattr(machine, "_PROCESSORS", tmp_path / "cpuinfo")
    yield become
    machine._processor_model.cache_clear()


def test_the_name_changes_with_the_processor_and_with_nothing_else(processor: Callable[[str, int], None]) -> None:
    processor("Laptop 7", 8)
    name = machine.machine_name(HOST)
    assert name == machine.machine_name(Devices(("host:2",)))
    processor("Laptop 7", 16)
    more_cores = machine.machine_name(HOST)
    processor("Laptop 9", 8)
    other_model = machine.machine_name(HOST)
    assert len({name, more_cores, other_model}) == 3
    processor("Laptop 7", 8)
    assert machine.machine_name(HOST) == name == "host-4gbps-d340ed"  # stable: saved profiles are found by it


def test_the_name_changes_with_a_latency_of_ones_own(set_host_links: Callable[..., None]) -> None:
    name = machine.machine_name(HOST)
    set_host_links(link_latency_us=20)
    assert machine.machine_name(HOST) != name
    set_host_links(link_latency_us=machine.HostLinks.link_latency_us)
    assert machine.machine_name(HOST) == name


def test_without_a_list_of_processors_there_is_a_name(
    processor: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_PROCESSORS", tmp_path / "missing")
    machine._processor_model.cache_clear()
    assert machine.machine_name(HOST).startswith("host-4gbps-")


@pytest.mark.parametrize(
    "settings",
    [
        {"link_gbps": 1e-300},
        {"link_gbps": float("inf")},
        {"link_gbps": 1.1e4},
        {"link_latency_us": 2e6},
        {"link_latency_us": float("inf")},
        {"count": 65},
    ],
)
def test_links_beyond_any_hardware_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match=rf"{next(iter(settings))}=.* host devices take"):
        machine.HostLinks(**settings)  # type: ignore[arg-type]


def test_the_slowest_and_the_fastest_links_are_taken(set_host_links: Callable[..., None]) -> None:
    set_host_links(link_gbps=1e-3, link_latency_us=1e6, count=1)
    set_host_links(link_gbps=1e4, link_latency_us=0, count=64)
    assert _core.device_count("host") == 64


def test_threads_that_load_at_once_share_one_target_and_its_links(
    monkeypatch: pytest.MonkeyPatch, set_host_links: Callable[..., None]
) -> None:
    def slowly(make: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object) -> object:
            time.sleep(0.02)
            return make(*arguments)

        return wrapper

    monkeypatch.setattr(_core, "Target", slowly(_core.Target))
    monkeypatch.setattr(_core, "Links", slowly(_core.Links))
    set_host_links()
    found: list[tuple[object, object]] = []
    start = threading.Barrier(4)

    def load() -> None:
        start.wait()
        found.append((machine.links(HOST), machine.target("host:0")))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert {(id(links), id(target)) for links, target in found} == {(id(found[0][0]), id(found[0][1]))}
