"""What no cold start on some hardware can be faster than: the model resident, and its bytes over the links."""

from __future__ import annotations

from dataclasses import dataclass

from deepplan import _core
from deepplan.engine.devices import Devices
from deepplan.engine.resident import Resident
from deepplan.export.arguments import WeightRef
from deepplan.export.graph import Graph
from deepplan.export.layers import LOOKUPS
from deepplan.export.verify import references

PROBE_BYTES = 256 << 20


@dataclass(frozen=True)
class Floor:
    """Both parts of a floor, measured on the same target.

    `crossing_bytes` have to reach the target, `link_gbps` is what its own link carries while it is alone.
    """

    resident: Resident
    crossing_bytes: int
    link_gbps: float

    def crossing_ms(self, links: int) -> float:
        """How long the bytes take over so many links that are all as fast as the target's own."""
        return self.crossing_bytes / (links * self.link_gbps * 1e6)

    def floor_ms(self, links: int) -> float:
        """The larger part."""
        return max(self.resident.latency_ms, self.crossing_ms(links))


def measure_floor(graph: Graph, resident: Resident, devices: Devices) -> Floor:
    """The floor of `graph`, which takes `resident` once its weights are there."""
    return Floor(resident, bytes_that_must_cross(graph), measure_link_gbps(devices))


def measure_link_gbps(devices: Devices) -> float:
    """What the target's own link carries while the others are idle."""
    return _core.measure_host_to_device_gbps([devices.target], PROBE_BYTES)[0]


def bytes_that_must_cross(graph: Graph) -> int:
    """Bytes of the weights, without tables that are only gathered: of those a call needs but a few rows."""
    needed: set[int] = set()
    for step in graph.steps:
        for position, value in enumerate((*step.args, *step.kwargs.values())):
            if position > 0 or step.op not in LOOKUPS:
                found = (item for item in references(value) if isinstance(item, WeightRef))
                needed.update(graph.weights[item.index].storage for item in found)
    return sum(graph.storages[storage].size_bytes for storage in needed)


def link_counts(available: int) -> list[int]:
    """How many links are compared where there are `available`: 1, 2, 4, ... and all of them."""
    counts = [1]
    while 2 * counts[-1] <= available:
        counts.append(2 * counts[-1])
    return counts if counts[-1] == available else [*counts, available]
