"""What the links of this machine's GPUs bring when several load at once: measured once, then read from a file.

Which GPUs help one another is a question of what their links share on the way to host memory, which no attribute of
the driver answers: it is measured for the sets of GPUs that a plan may use.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from deepplan import _core
from deepplan.engine.devices import resolve_devices
from deepplan.engine.machine import machine_name
from deepplan.errors import DocumentError, InvalidInputError
from deepplan.planning.documents import Document
from deepplan.planning.records import Gbps, Record

_PROBE_BYTES = 256 << 20
_ALL_SUBSETS_UP_TO = 4  # devices; of more, only single ones, pairs and all of them are measured


@dataclass(frozen=True)
class LinkRates(Record):
    """The rate of each device's link, in GB/s, while all of these devices load from pinned memory at once."""

    devices: tuple[str, ...]
    gbps: tuple[Gbps, ...]

    @property
    def total_gbps(self) -> float:
        """What they bring together."""
        return sum(self.gbps)


@dataclass(frozen=True)
class LinkSurvey(Document):
    """The rates of sets of devices. It holds for one machine, its GPUs by their places on the PCIe bus, and torch."""

    FORMAT: ClassVar[str] = "deepplan.links"
    VERSION: ClassVar[int] = 1

    machine: str
    torch: str
    pci_bus_ids: tuple[str, ...]
    rates: tuple[LinkRates, ...]


def device_names(backend: str) -> tuple[str, ...]:
    """All devices of "cuda" or "host"."""
    return tuple(f"{backend}:{index}" for index in range(_core.device_count(backend)))


def device_sets(devices: Sequence[str]) -> list[tuple[str, ...]]:
    """The sets to measure, small ones first."""
    count = len(devices)
    sizes = range(1, count + 1) if count <= _ALL_SUBSETS_UP_TO else (1, 2, count)
    return [subset for size in sizes for subset in itertools.combinations(devices, size)]


def measure_links(devices: Sequence[str], report: Callable[[float], None] = lambda share: None) -> LinkSurvey:
    """Measures the links of `devices`, which are of one backend and all there. Raises OutOfMemoryError."""
    sets = device_sets(devices)
    rates = []
    for done, chosen in enumerate(sets):
        rates.append(LinkRates(chosen, tuple(_core.measure_host_to_device_gbps(chosen, _PROBE_BYTES))))
        report((done + 1) / len(sets))
    return LinkSurvey(
        machine=machine_name(resolve_devices(tuple(devices))),
        torch=str(torch.__version__),
        pci_bus_ids=_pci_bus_ids(devices),
        rates=tuple(rates),
    )


def survey_links(
    devices: Sequence[str], folder: Path, report: Callable[[float], None] = lambda share: None
) -> LinkSurvey:
    """As `measure_links`, but taken from `folder` where a survey of the same GPUs and torch lies, else kept there."""
    machine = machine_name(resolve_devices(tuple(devices)))
    path = folder / f"links-{machine}-torch-{re.sub('[^0-9A-Za-z.]+', '-', str(torch.__version__))}.json"
    try:
        kept = LinkSurvey.load(path)
        if (kept.machine, kept.torch, kept.pci_bus_ids) == (machine, str(torch.__version__), _pci_bus_ids(devices)):
            return kept
    except DocumentError:
        pass  # not measured yet, or the file was damaged: measure again
    measured = measure_links(devices, report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot make {folder}: {error.strerror}; name another folder with -p") from None
    measured.save(path)
    return measured


def _pci_bus_ids(devices: Sequence[str]) -> tuple[str, ...]:
    return tuple(device.pci_bus_id for device in _core.discover_topology(devices).devices)
