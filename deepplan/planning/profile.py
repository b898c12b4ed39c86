"""A profile: what was measured of a model on a machine, and all that a planner needs to know of either.

A profile can also be written by hand; only layers and links have no defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from deepplan.errors import InvalidInputError
from deepplan.planning.documents import Document
from deepplan.planning.records import ADDED, Bytes, Count, Gbps, Milliseconds, PositiveBytes, Record, refusal


@dataclass(frozen=True)
class LayerProfile(Record):
    """One layer, in execution order. A tensor that several layers use counts at the one that loads it first.

    `load_ms`: time to copy its parameters to the device. `execute_ms`: time to run it with the parameters in device
    memory. `direct_host_access_ms`: time to run it reading them in place in host memory, None where it cannot.
    The spreads are the widths between the 10th and the 90th percentile of the measurements.

    `direct_host_access_ms` is measured while copies fill the target's link, as they do in a cold start.
    `direct_host_access_link_ms` is how long its traffic takes on that link alone: longer than its bytes for a matrix
    product, whose tiles read them many times over; None if every byte crosses once.

    `coded_bytes` is what its parameters take in the lossless code, None where that is not known or not worth it.
    """

    name: str
    type: str
    size_bytes: Bytes
    load_ms: Milliseconds
    execute_ms: Milliseconds
    direct_host_access_ms: Milliseconds | None
    execute_spread_ms: Milliseconds = 0.0
    direct_host_access_spread_ms: Milliseconds = 0.0
    direct_host_access_link_ms: Milliseconds | None = None
    coded_bytes: Bytes | None = field(default=None, metadata=ADDED)


@dataclass(frozen=True)
class LinkProfile(Record):
    """The whole way from host memory into the target GPU over one device's link, all links in use busy.

    A copy of b bytes takes `latency_ms` + b / bandwidth; GB/s are 1e9 bytes a second.
    """

    latency_ms: Milliseconds
    bandwidth_gbps: Gbps

    @property
    def bytes_per_ms(self) -> float:
        """Bandwidth in the planner's units."""
        return self.bandwidth_gbps * 1e6

    def as_fewer(self, many: LinkProfile, fewer: LinkProfile) -> LinkProfile:
        """This link with the gain of one that costs `many` while all carry and `fewer` while fewer do."""
        latency_ms = max(0.0, fewer.latency_ms + (self.latency_ms - many.latency_ms))
        return LinkProfile(latency_ms, self.bandwidth_gbps / many.bandwidth_gbps * fewer.bandwidth_gbps)


@dataclass(frozen=True)
class Origin(Record):
    """What a profile or plan was made for, so that it is not used for anything else. Empty: written by hand.

    `devices` names the device of each link ("cuda:0"), target first.
    """

    model: str = field(default="", kw_only=True)
    model_digest: str = field(default="", kw_only=True)
    dtype: str = field(default="", kw_only=True)
    batch_size: Count = field(default=1, kw_only=True)
    machine: str = field(default="", kw_only=True)
    devices: tuple[str, ...] = field(default=(), kw_only=True)
    torch: str = field(default="", kw_only=True)

    @property
    def origin(self) -> dict[str, Any]:
        """The fields of the origin, to make another document for the same model and machine."""
        return {name: getattr(self, name) for name in Origin.__dataclass_fields__}


@dataclass(frozen=True)
class Profile(Document, Origin):
    """Layers in execution order and links, link 0 the target GPU's own.

    `fewer_links[n - 1]` are the first n links as a plan over no more of them finds them: the others, idle, leave them
    more of what host memory carries. Where it was not measured, `links` is all that is known.

    `group_overhead_ms` is what waiting for one group costs, `call_overhead_ms` what a call costs once, whatever the
    plan; `warm_ms` the measured latency with everything resident, None if it was not measured.

    `decode_gbps` is how many bytes of parameters the target GPU decodes in a second, in GB/s of the plain bytes; None
    where it cannot, and then nothing is coded. Coded groups are copied and decoded in pieces of at most
    `coded_piece_bytes` plain bytes.
    """

    FORMAT: ClassVar[str] = "deepplan.profile"
    VERSION: ClassVar[int] = 2

    layers: tuple[LayerProfile, ...]
    links: tuple[LinkProfile, ...]
    group_overhead_ms: Milliseconds = 0.0
    call_overhead_ms: Milliseconds = 0.0
    warm_ms: Milliseconds | None = None
    fewer_links: tuple[tuple[LinkProfile, ...], ...] = ()
    decode_gbps: Gbps | None = field(default=None, metadata=ADDED)
    coded_piece_bytes: PositiveBytes = field(default=16 << 20, metadata=ADDED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or not self.links:
            raise InvalidInputError("a profile needs at least one layer and one link")
        if self.devices and len(self.devices) != len(self.links):
            raise refusal("devices", self.devices, f"empty, or one name for each of the {len(self.links)} links")
        found = [len(links) for links in self.fewer_links]
        if len(found) >= len(self.links) or found != list(range(1, len(found) + 1)):
            raise refusal("fewer_links", found, f"1, 2, ... links, less than the {len(self.links)} of the profile")

    def link_held_ms(self, layer: LayerProfile) -> float:
        """How long the target's own link is held while `layer` is read in place; 0 if it has no parameters."""
        if layer.size_bytes == 0 or layer.direct_host_access_ms is None:
            return 0.0
        longer = layer.direct_host_access_ms - layer.execute_ms
        traffic_ms = layer.direct_host_access_link_ms
        if traffic_ms is None:
            traffic_ms = layer.size_bytes / self.links[0].bytes_per_ms
        return max(0.0, min(longer, traffic_ms))

    def codable(self, layer: LayerProfile) -> bool:
        """Whether a coded group may hold `layer`."""
        return self.decode_gbps is not None and layer.size_bytes > 0 and layer.coded_bytes is not None

    def decode_ms(self, size_bytes: float) -> float:
        """How long the target GPU decodes this many plain bytes. Raises InvalidInputError if it cannot."""
        if self.decode_gbps is None:
            raise InvalidInputError("the profile has no decode_gbps: its target decodes nothing")
        return size_bytes / (self.decode_gbps * 1e6)

    def decoding_slows_ms(self, size_bytes: float) -> float:
        """How much later kernels end that run beside the decoding of this many plain bytes.

        Twice its own time: GPT-2 in bf16 over two links lost 0.5 ms to 0.24 ms of decoding on an H200, since decoding
        takes half of the multiprocessors away and most kernels fill them all in one wave.
        """
        return 2.0 * self.decode_ms(size_bytes)

    def with_links(self, links: Sequence[int], beside: int = 0) -> Profile:
        """The same profile with only these of its links, the first of them the target's, while others load over
        `beside` more.

        What the first links gain while fewer carry is taken to be what any of as many gain. Others take of what host
        memory carries, and copy by threads of their own: they cost bandwidth, and no latency.
        """
        if not links or len(set(links)) != len(links) or not all(0 <= link < len(self.links) for link in links):
            raise refusal("links", links, f"different indices of the profile's {len(self.links)} links, at least one")
        devices = tuple(self.devices[link] for link in links) if self.devices else ()
        used, crowded = (self._while_carrying(links, count) for count in (len(links), len(links) + beside))
        return replace(
            self,
            links=tuple(
                replace(link, bandwidth_gbps=min(link.bandwidth_gbps, slowed.bandwidth_gbps))
                for link, slowed in zip(used, crowded)
            ),
            fewer_links=self.fewer_links[: len(links) - 1],
            devices=devices,
        )

    def _while_carrying(self, links: Sequence[int], count: int) -> tuple[LinkProfile, ...]:
        """These links while `count` carry, they among them; as while all do where nothing is known of so many."""
        used = tuple(self.links[link] for link in links)
        if count > len(self.fewer_links):
            return used
        gains = zip(used, self.fewer_links[count - 1], self.links, strict=False)
        return tuple(link.as_fewer(alike, fewer) for link, fewer, alike in gains)
