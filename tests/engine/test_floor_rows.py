"""Every engine that starts cold, over each number of links, beside the floor."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import deepplan
from deepplan.engine.devices import Devices, resolve_devices
from deepplan.engine.floor import Floor
from deepplan.engine.floor_rows import ENGINES, measure_rows
from deepplan.engine.resident import Resident
from deepplan.engine.session import Session
from deepplan.engine.source import Source, resolve
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

FLOOR = Floor(Resident(0.001, "graph replay"), crossing_bytes=400_000, link_gbps=4.0)


def made_up_profile(source: Source, devices: Devices) -> Profile:
    from deepplan.engine.binding import layer_sizes

    graph = source.captured.graph
    layers = tuple(
        LayerProfile(layer.name, layer.type, size, 0.1, 0.1, 0.2 if size and layer.direct_host_access else None)
        for layer, size in zip(graph.layers, layer_sizes(graph))
    )
    links = (LinkProfile(0.01, 4.0),) * len(devices.names)
    return Profile(layers=layers, links=links, model="tiny", dtype="fp32", devices=devices.names)


def test_a_row_for_each_engine_and_number_of_links(tiny: torch.nn.Module, ids: torch.Tensor, backend: str) -> None:
    devices = resolve_devices([f"{backend}:{index}" for index in range(2 if backend == "host" else 1)])
    source = resolve(tiny, ids, dtype="fp32", keep=False)
    profile = made_up_profile(source, devices)
    checked: list[tuple[str, ...]] = []

    def check(session: Session) -> None:
        assert not session.is_resident
        checked.append((session.plan.policy, *session.devices))

    counts = [1, 2][: len(devices.names)]
    rows = list(measure_rows(source, profile, devices, FLOOR, counts, lambda engine, plan: 2 + len(engine), check))
    plain = [row for row in rows if not row.coded]
    assert [(row.links, row.method) for row in plain] == [(count, engine) for count in counts for engine in ENGINES]
    policies = {"demand": "load_all", "pipeline": "pipeswitch", "deepplan": "optimal"}
    used = {row: devices.names[: 1 if row.method == "demand" else row.links] for row in rows}
    # On-demand is measured once, and its row written for each number of links.
    assert checked == [(policies[row.method], *used[row]) for row in rows if row.method != "demand" or row.links == 1]
    assert len({row.cold_ms for row in rows if row.method == "demand"}) == 1
    for row in rows:
        plan = deepplan.search(profile, policies[row.method], devices=used[row], coding=row.coded)
        assert any(plan.coded) == row.coded
        assert (row.predicted_ms, row.loaded_bytes) == (plan.predicted_ms, plan.loaded_bytes)
        assert row.repeats == 2 + len(row.method) and 0 < row.cold_ms <= row.cold_p99_ms and row.warm_ms > 0
        assert row.launch == ("operators" if backend == "host" else "graph")
        assert row.floor_ms == FLOOR.floor_ms(row.links) == 0.1 / row.links
        assert (row.graph_replay_ms, row.replayed, row.link_gbps) == (0.001, True, 4.0)
        assert row.together_gbps == 4.0 * row.links


def test_json_has_every_field_and_the_ratio(tiny: torch.nn.Module, ids: torch.Tensor) -> None:
    devices = Devices(("host:0",))
    source = resolve(tiny, ids, dtype="fp32", keep=False)
    row = next(measure_rows(source, made_up_profile(source, devices), devices, FLOOR, [1], lambda *_: 1))
    document = row.to_json()
    assert set(document) == {field.name for field in dataclasses.fields(row)} | {"ratio"}
    assert document["ratio"] == pytest.approx(row.cold_ms / 0.1)
    assert document["devices"] == ["host:0"] and document["coded"] is False
