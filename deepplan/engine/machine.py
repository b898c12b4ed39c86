"""What this process holds of the machine: one pool of weight memory a device, one set of links a tuple of devices."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from deepplan import _core
from deepplan.engine.devices import Devices
from deepplan.errors import InvalidInputError

_PROCESSORS = Path("/proc/cpuinfo")

# Re-entrant: links take their target. Held while either is made: a cache by itself lets two threads make one each,
# and then a GPU would have two pools.
_lock = threading.RLock()


@dataclass(frozen=True)
class HostLinks:
    """What the links of the host devices cost: rate in GB/s (1e9 bytes a second), latency in microseconds.

    Raises InvalidInputError for what no link is like: a copy has to end while somebody waits for it.
    """

    link_gbps: float = 4.0
    link_latency_us: float = 10.0
    count: int = 4

    def __post_init__(self) -> None:
        for name, value, least, most, unit in (
            ("link_gbps", self.link_gbps, 1e-3, 1e4, "GB/s"),
            ("link_latency_us", self.link_latency_us, 0, 1e6, "us"),
            ("count", self.count, 1, 64, "devices"),
        ):
            if not least <= value <= most:  # nor is NaN
                raise InvalidInputError(f"{name}={value!r}: host devices take {least:g} to {most:g} {unit}")


_host_links = HostLinks()
_targets: dict[str, _core.Target] = {}
_links: dict[tuple[str, ...], _core.Links] = {}


def set_host_links(settings: HostLinks) -> None:
    """Changes what the host devices cost, for sessions made from now on."""
    global _host_links
    with _lock:
        _core.set_host_devices(
            count=settings.count, link_gbps=settings.link_gbps, link_latency_us=settings.link_latency_us
        )
        _host_links = settings
        _targets.clear()
        _links.clear()


def target(name: str) -> _core.Target:
    """The device and the memory pool that all models on it share."""
    with _lock:
        if name not in _targets:
            _targets[name] = _core.Target(name)
        return _targets[name]


def links(devices: Devices) -> _core.Links:
    """The links from host memory into the target: its own, then one over each helper."""
    with _lock:
        if devices.names not in _links:
            _links[devices.names] = _core.Links(target(devices.target), list(devices.names[1:]))
        return _links[devices.names]


def synchronize(devices: Devices) -> None:
    """Waits until the target has done all its work, deepplan's and torch's."""
    target(devices.target).synchronize()
    if not devices.is_host:
        import torch

        torch.cuda.synchronize(devices.target)


def machine_name(devices: Devices) -> str:
    """A short name of the machine that profiles are keyed by: "h200x4", or "host-4gbps-1a2b3c" for host devices.

    These run on the processor, so that it belongs to the name: two laptops that share a home keep their own profiles.
    """
    if devices.is_host:
        return f"host-{_host_links.link_gbps:g}gbps-{_host_digest(_host_links.link_latency_us)}"
    return f"{_gpu_name(devices.target)}x{_core.device_count('cuda')}"


def _host_digest(link_latency_us: float) -> str:
    """Six characters that change with the processor's model, its cores and a latency that is not the default."""
    facts = [_processor_model(), str(os.cpu_count())]
    if link_latency_us != HostLinks.link_latency_us:
        facts.append(f"{link_latency_us:g}us")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:6]


@functools.cache
def _processor_model() -> str:
    """ "AMD EPYC 9654 96-Core Processor"; without Linux's list of processors only their architecture."""
    try:
        text = _PROCESSORS.read_text(errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _gpu_name(device: str) -> str:
    """ "NVIDIA H200" and "NVIDIA A100-SXM4-80GB" become "h200" and "a100-sxm4-80gb"."""
    import torch

    words = re.findall(r"[a-z0-9-]+", torch.cuda.get_device_name(device).lower())
    return "-".join(word for word in words if word not in ("nvidia", "geforce", "tesla", "hbm3", "pcie"))
