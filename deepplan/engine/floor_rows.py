"""A model's cold starts under each engine and over each number of links, beside the floor of the hardware."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deepplan.engine.benchmark import Latencies, measure, policy_of
from deepplan.engine.devices import Devices
from deepplan.engine.floor import Floor
from deepplan.engine.session import Session
from deepplan.engine.source import Source
from deepplan.planning.plan import Plan
from deepplan.planning.profile import Profile
from deepplan.planning.search import search

ENGINES = ("demand", "pipeline", "deepplan")  # all that start cold

Repeats = Callable[[str, Plan], int]  # how many cold starts of an engine's plan are measured


@dataclass(frozen=True)
class FloorRow:
    """One engine over the first `links` devices. `cold_ms` is a median; `coded` says whether weights travel coded.

    `launch` is the session's: "graph" or "operators". `graph_replay_ms` is the resident part of the floor, by one
    graph if `replayed`. `link_gbps` is what the target's link carries while it is alone, `together_gbps` what all
    `links` do at once: host memory may carry less than their sum.
    """

    model: str
    dtype: str
    links: int
    method: str
    coded: bool
    cold_ms: float
    cold_p99_ms: float
    floor_ms: float
    predicted_ms: float
    warm_ms: float
    graph_replay_ms: float
    replayed: bool
    crossing_bytes: int
    link_gbps: float
    together_gbps: float
    repeats: int
    stall_ms: float
    launch: str
    loaded_bytes: int
    direct_host_access_bytes: int
    batch: int
    devices: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many times the floor a cold start takes."""
        return self.cold_ms / self.floor_ms

    def to_json(self) -> dict[str, Any]:
        """With the names that results use."""
        return {**dataclasses.asdict(self), "devices": list(self.devices), "ratio": self.ratio}


def measure_rows(
    source: Source,
    profile: Profile,
    devices: Devices,
    floor: Floor,
    counts: Sequence[int],
    repeats: Repeats,
    check: Callable[[Session], None] = lambda session: None,
    coding: bool = True,
) -> Iterator[FloorRow]:
    """A row for each number of links in `counts` and each engine, planned from one profile of all `devices`; a second
    one for an engine whose plan has weights cross coded, if it may.

    What uses one link however many there are is measured once. `check` is called with each session before that.
    """
    measured: dict[tuple[str, bool, int], tuple[Latencies, str]] = {}
    for count in counts:
        used = Devices(devices.names[:count])
        together_gbps = sum(link.bandwidth_gbps for link in profile.with_links(range(count)).links)
        for engine, plan in _plans(profile, used, coding):
            case = engine, any(plan.coded), len(plan.links)
            if case not in measured:
                with Session(source, plan, Devices(used.names[: len(plan.links)])) as session:
                    check(session)
                    latencies = measure(session, source.tensor_inputs(), warm_only=False, repeats=repeats(engine, plan))
                    measured[case] = latencies, session.launch
            yield _row(engine, plan, *measured[case], floor, together_gbps, used)


def _plans(profile: Profile, used: Devices, coding: bool) -> Iterator[tuple[str, Plan]]:
    for engine in ENGINES:
        names = used.names[:1] if engine == "demand" else used.names  # one copy travels over one link
        plain = search(profile, policy_of(engine), devices=names, coding=False)
        yield engine, plain
        plan = search(profile, policy_of(engine), devices=names) if coding else plain
        if any(plan.coded):
            yield engine, plan


def _row(
    engine: str, plan: Plan, latencies: Latencies, launch: str, floor: Floor, together_gbps: float, used: Devices
) -> FloorRow:
    links = len(used.names)
    return FloorRow(
        model=plan.model,
        dtype=plan.dtype,
        links=links,
        method=engine,
        coded=any(plan.coded),
        cold_ms=latencies.median_ms,
        cold_p99_ms=latencies.p99_ms,
        floor_ms=floor.floor_ms(links),
        predicted_ms=plan.predicted_ms,
        warm_ms=latencies.warm_ms,
        graph_replay_ms=floor.resident.latency_ms,
        replayed=floor.resident.replayed,
        crossing_bytes=floor.crossing_bytes,
        link_gbps=floor.link_gbps,
        together_gbps=together_gbps,
        repeats=len(latencies.cold_ms),
        stall_ms=latencies.stall_ms,
        launch=launch,
        loaded_bytes=plan.loaded_bytes,
        direct_host_access_bytes=plan.direct_host_access_bytes,
        batch=plan.batch_size,
        devices=used.names,
    )
