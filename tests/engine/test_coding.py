"""Weights cross a link coded and come out as they were; what does not shrink, or is read in place, stays plain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import deepplan
from deepplan import _core
from deepplan.engine import machine
from deepplan.engine.binding import layer_sizes
from deepplan.engine.coding import coded_layer_bytes, decode_gbps
from deepplan.engine.devices import Devices
from deepplan.engine.filling import fill
from deepplan.engine.profiling_plans import one_group
from deepplan.engine.source import Source, resolve
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

MakePlan = Callable[..., deepplan.Plan]


class Wide(torch.nn.Module):
    """Weights normal(0, 0.02), as models have them; a table that is gathered and read whole; and a step count."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(256, 512)
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(4)))
        self.register_buffer("noise", torch.randint(0, 2**31 - 1, (4096,)))
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, 0.0, 0.02)
        self.to(dtype)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.table(ids))
        return x @ self.table.weight.T + self.noise.sum() % 7


@pytest.fixture
def wide() -> Wide:
    torch.manual_seed(1)
    return Wide().eval().requires_grad_(False)


IDS = torch.arange(8)


def filled_session(source: Source) -> _core.Session:
    devices = Devices(("host:0",))
    program = _core.Program(source.captured.graph, "cpu")
    session = _core.Session("wide", program, machine.links(devices), one_group(source.captured.graph))
    fill(session, source.captured)
    return session


def coded_plan(model: torch.nn.Module, links: int = 1) -> deepplan.Plan:
    """Every layer that coding makes smaller coded, in a group of its own, the links taking turns."""
    source = resolve(model, IDS)
    graph = source.captured.graph
    plain = layer_sizes(graph)
    sizes = coded_layer_bytes(filled_session(source), graph)
    layers = tuple(
        LayerProfile(layer.name, layer.type, size, 0.1, 0.1, None, coded_bytes=coded)
        for layer, size, coded in zip(graph.layers, plain, sizes)
    )
    profile = Profile(layers=layers, links=(LinkProfile(0.01, 4.0),) * links, decode_gbps=100.0)
    counts = iter(range(len(layers)))
    groups = [next(counts) if size else -1 for size in plain]
    return deepplan.Plan.from_choices(
        profile,
        ["load" if size else "dha" for size in plain],
        groups,
        [index % links for index in range(max(groups) + 1)],
        coded=[coded is not None and coded < 0.97 * size for size, coded in zip(plain, sizes) if size],
    )


@pytest.mark.parametrize(("dtype", "low", "high"), [("fp32", 0.82, 0.88), ("bf16", 0.68, 0.74), ("fp16", 0.85, 0.92)])
def test_a_sample_tells_what_layers_take(wide: Wide, dtype: str, low: float, high: float) -> None:
    source = resolve(wide, IDS, dtype=dtype)
    graph = source.captured.graph
    session = filled_session(source)
    sizes = coded_layer_bytes(session, graph)
    for layer, size in zip(graph.layers, sizes):
        plain = sum(graph.storages[index].size_bytes for index in layer.storages)
        if layer.type == "Linear":
            assert size is not None and low * plain < size < high * plain
        if plain == 0:
            assert size is None


def test_integers_do_not_shrink() -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("noise", torch.randint(0, 2**31 - 1, (4096,)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.noise.sum()

    source = resolve(Counting(), torch.ones(1))
    assert sum(size or 0 for size in coded_layer_bytes(filled_session(source), source.captured.graph)) == 8 * 4096
    assert decode_gbps(source.captured.graph, Devices(("host:0",))) is None


def test_the_rate_of_decoding_is_measured(wide: Wide) -> None:
    rate = decode_gbps(resolve(wide, IDS).captured.graph, Devices(("host:0",)))
    assert rate is not None and 0.01 < rate < 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_coded_weights_give_the_module_s_answer(backend: str, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    wide = Wide(dtype).eval().requires_grad_(False)
    plan = coded_plan(wide)
    assert any(plan.coded)
    with deepplan.load(wide, plan, devices=f"{backend}:0", example_inputs=IDS) as session:
        if _core.can_decode(f"{backend}:0"):
            assert session.crossing_bytes < 0.95 * plan.loaded_bytes
            assert session.pinned_bytes < 0.95 * (plan.loaded_bytes + plan.direct_host_access_bytes)
        else:  # built without kernels: the weights cross as they are
            assert session.crossing_bytes >= plan.loaded_bytes and session.launch == "graph"
        where = session.torch_target
        expected = wide.to(where)(IDS.to(where))
        for _ in range(3):
            session.evict(poison=True)
            assert torch.equal(session(IDS), expected)
            assert session._runtime.last_was_captured == (backend == "cuda")
            assert torch.equal(session(IDS), expected)


@pytest.mark.parametrize("links", [2, 4])
def test_coded_weights_cross_several_links(wide: Wide, links: int) -> None:
    plan = coded_plan(wide, links)
    devices = [f"host:{index}" for index in range(links)]
    with deepplan.load(wide, plan, devices=devices, example_inputs=IDS) as session:
        for _ in range(3):
            session.evict(poison=True)
            assert torch.equal(session(IDS), wide(IDS))


@pytest.mark.cuda
def test_coded_weights_cross_two_gpus_links(wide: Wide) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    plan = coded_plan(wide, 2)
    with deepplan.load(wide, plan, devices=[0, 1], example_inputs=IDS) as session:
        expected = wide.cuda()(IDS.cuda())
        for _ in range(3):
            session.evict(poison=True)
            assert torch.equal(session(IDS), expected)
            assert session._runtime.last_was_captured
            assert torch.equal(session(IDS), expected)


def test_another_plan_makes_them_plain_again(wide: Wide, make_plan: MakePlan) -> None:
    with deepplan.load(wide, coded_plan(wide), devices="host:0", example_inputs=IDS) as session:
        session.rebind(make_plan(wide, IDS, "load_all"))
        assert session.crossing_bytes == session.device_bytes
        assert torch.equal(session(IDS), wide(IDS))


def test_a_coded_session_is_saved_plain(wide: Wide, tmp_path: Path) -> None:
    with deepplan.load(wide, coded_plan(wide), devices="host:0", example_inputs=IDS) as session:
        session.save(tmp_path / "wide")
    with deepplan.load(tmp_path / "wide", devices="host:0") as session:
        assert torch.equal(session(IDS), wide(IDS))
