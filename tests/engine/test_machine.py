"""Machines have names, host links have costs, and what a process holds of a device is shared."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch

from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.devices import Devices
from deepplan.errors import InvalidInputError

HOST = Devices(("host:0", "host:1"))


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("NVIDIA H200", "h200x4"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gbx4"),
        ("NVIDIA H100 80GB HBM3", "h100-80gbx4"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090x4"),
        ("Tesla V100-SXM2-16GB", "v100-sxm2-16gbx4"),
    ],
)
def test_a_machine_is_named_after_its_gpus(monkeypatch: pytest.MonkeyPatch, gpu: str, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpu)
    monkeypatch.setattr(_core, "device_count", lambda backend: 4)
    assert machine.machine_name(Devices(("cuda:0",))) == name
    assert machine.machine_name(Devices(("cuda:2", "cuda:0"))) == name


def test_host_devices_are_named_after_their_links(set_host_links: Callable[..., None]) -> None:
    assert re.fullmatch(r"host-4gbps-[0-9a-f]{6}", machine.machine_name(HOST))
    set_host_links(link_gbps=0.5)
    assert re.fullmatch(r"host-0\.5gbps-[0-9a-f]{6}", machine.machine_name(HOST))


@pytest.mark.parametrize(
    "settings",
    [
        {"link_gbps": 0.0},
        {"link_gbps": -1.0},
        {"link_gbps": math.nan},
        {"link_latency_us": -1.0},
        {"link_latency_us": math.nan},
        {"count": 0},
        {"count": -1},
    ],
)
def test_nonsense_is_refused_and_changes_nothing(
    set_host_links: Callable[..., None], settings: dict[str, float]
) -> None:
    set_host_links(link_gbps=2.0, count=3)
    with pytest.raises(InvalidInputError):
        set_host_links(**settings)
    assert machine.machine_name(HOST).startswith("host-2gbps-")
    assert _core.device_count("host") == 3


def test_a_device_is_shared_until_its_links_change(set_host_links: Callable[..., None]) -> None:
    target, links = machine.target("host:0"), machine.links(HOST)
    assert machine.target("host:0") is target
    assert machine.links(Devices(("host:0", "host:1"))) is links
    assert machine.links(Devices(("host:1", "host:0"))) is not links
    set_host_links(link_gbps=2.0)
    assert machine.target("host:0") is not target
    assert machine.links(HOST) is not links
