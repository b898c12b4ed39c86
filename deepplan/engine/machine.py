"""What this process holds of the machine: one pool of weight memory a device, one set of links a tuple of devices."""

from __future__ import annotations

import functools
import re
import threading
from dataclasses import dataclass

from deepplan import _core
from deepplan.engine.devices import Devices

_lock = threading.Lock()


@dataclass(frozen=True)
class HostLinks:
    """What the links of the host devices cost: rate in GB/s (1e9 bytes a second), latency in microseconds."""

    link_gbps: float = 4.0
    link_latency_us: float = 10.0
    count: int = 4


_host_links = HostLinks()


def set_host_links(settings: HostLinks) -> None:
    """Changes what the host devices cost, for sessions made from now on. Raises InvalidInputError for nonsense."""
    global _host_links
    with _lock:
        _core.set_host_devices(
            count=settings.count, link_gbps=settings.link_gbps, link_latency_us=settings.link_latency_us
        )
        _host_links = settings
        target.cache_clear()
        _links.cache_clear()


@functools.cache
def target(name: str) -> _core.Target:
    """The device and the memory pool that all models on it share."""
    return _core.Target(name)


@functools.cache
def _links(names: tuple[str, ...]) -> _core.Links:
    return _core.Links(target(names[0]), list(names[1:]))


def links(devices: Devices) -> _core.Links:
    """The links from host memory into the target: its own, then one over each helper."""
    return _links(devices.names)


def machine_name(devices: Devices) -> str:
    """A short name of the machine that profiles are keyed by: "h200x4", or "host-4gbps" for host devices."""
    if devices.is_host:
        return f"host-{_host_links.link_gbps:g}gbps"
    return f"{_gpu_name(devices.target)}x{_core.device_count('cuda')}"


def _gpu_name(device: str) -> str:
    """ "NVIDIA H200" and "NVIDIA A100-SXM4-80GB" become "h200" and "a100-sxm4-80gb"."""
    import torch

    words = re.findall(r"[a-z0-9-]+", torch.cuda.get_device_name(device).lower())
    return "-".join(word for word in words if word not in ("nvidia", "geforce", "tesla", "hbm3", "pcie"))
