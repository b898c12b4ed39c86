"""Devices are meant by index or name; what cannot be used together, or at all, is refused by name."""

from __future__ import annotations

import pytest
import torch

from deepplan import _core
from deepplan.engine.devices import Devices, default_backend, resolve_devices
from deepplan.errors import DeviceError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, seen by the core and by torch."""
    count = _core.device_count("host")
    monkeypatch.setattr(_core, "device_count", lambda backend: 2 if backend == "cuda" else count)
    monkeypatch.setattr(_core, "unavailable_reason", lambda backend: "")
    monkeypatch.setattr(torch.version, "cuda", "13.0")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    count = _core.device_count("host")
    monkeypatch.setattr(_core, "device_count", lambda backend: 0 if backend == "cuda" else count)


def test_the_default_is_a_gpu_that_core_and_torch_can_use(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_backend() == "cuda"
    assert resolve_devices([1, "cuda:0"]).names == ("cuda:1", "cuda:0")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert default_backend() == "host"
    assert resolve_devices(0).names == ("host:0",)
    with pytest.raises(DeviceError, match=r"cuda:0 is not there .*this torch has no CUDA"):
        resolve_devices("cuda:0")


def test_without_a_gpu_the_host_stands_in(no_gpu: None) -> None:
    assert default_backend() == "host"
    assert resolve_devices((0, 2)).names == ("host:0", "host:2")


@pytest.mark.parametrize("devices", ["host:1", ["host:1"], ("host:01",), Devices(("host:1",))])
def test_one_device_may_be_given_alone(devices: object) -> None:
    resolved = resolve_devices(devices)  # type: ignore[arg-type]
    assert resolved == Devices(("host:1",))
    assert (resolved.target, resolved.backend, resolved.is_host) == ("host:1", "host", True)
    assert resolved.torch_target == "cpu"


def test_the_first_device_is_the_target(gpus: None) -> None:
    resolved = resolve_devices(["cuda:1", "cuda:0"])
    assert resolved.target == resolved.torch_target == "cuda:1"
    assert not resolved.is_host


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ([], "no device"),
        (["host:0", "host:0"], "named twice"),
        (["host:0", "host:00"], "named twice"),
        ([0, "cuda:0"], "named twice"),
        (["cuda:0", "host:0"], "different backends"),
        ([0, "host:0"], "different backends"),
        ("host:99", r"host:99 is not there \(there are \d+: host:0 to host:\d+\)"),
        (2, r"cuda:2 is not there \(there are 2: cuda:0 to cuda:1\)"),
        (-1, "-1 is no device"),
        (True, "True is no device"),
        ("host", "'host' is no device"),
        ("host:", "'host:' is no device"),
        ("", "'' is no device"),
        ("tpu:0", "'tpu:0' is no device"),
        ("host:-1", "'host:-1' is no device"),
        ("cuda:0:1", "'cuda:0:1' is no device"),
        ("0,1", "'0,1' is no device"),
    ],
)
def test_what_is_no_set_of_devices_is_refused_by_name(gpus: None, devices: object, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        resolve_devices(devices)  # type: ignore[arg-type]


def test_an_absent_gpu_is_refused_with_the_reason(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(_core, "unavailable_reason", lambda backend: "no driver")
    with pytest.raises(DeviceError, match=r"cuda:0 is not there \(no driver\)"):
        resolve_devices("cuda:0")


@pytest.mark.parametrize("device", ["1" * 5000, "host:" + "0" * 10, "cuda:1234567890"])
def test_a_number_of_more_than_nine_digits_is_refused_unread(device: str) -> None:
    with pytest.raises(DeviceError, match="is no device") as refused:
        resolve_devices(device)
    assert len(str(refused.value)) < 150


@pytest.mark.parametrize("devices", [None, 1.5, torch.nn.Identity()])
def test_what_is_no_sequence_of_devices_is_refused(devices: object) -> None:
    with pytest.raises(DeviceError, match=r"devices=.*is no device.*devices=\[0\]"):
        resolve_devices(devices)  # type: ignore[arg-type]
