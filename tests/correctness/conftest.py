"""Every engine's answers beside the eager model's, under plans searched from made-up profiles: nothing is measured."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

import deepplan
from deepplan import _core, models
from deepplan.engine import machine
from deepplan.engine.binding import layer_sizes
from deepplan.engine.devices import resolve_devices
from deepplan.engine.precision import precision
from deepplan.engine.session import Session
from deepplan.engine.source import Inputs, Source, resolve
from deepplan.export.graph import Graph
from deepplan.export.meta import weights_on_meta
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.cuda)])
def backend(request: pytest.FixtureRequest) -> str:
    """Every test that takes this runs on the host device and, where there is one, on a GPU."""
    name: str = request.param
    return name


@dataclass(frozen=True)
class Engine:
    """An engine of `deepplan benchmark` over some links, and the policy whose plan it executes."""

    name: str
    policy: str
    links: int


ENGINES = (
    Engine("demand and in_memory", "load_all", 1),
    Engine("pipeline", "pipeswitch", 1),
    Engine("deepplan", "optimal", 1),
    Engine("pipeline", "pipeswitch", 2),
    Engine("deepplan", "optimal", 4),
)


def made_up_profile(graph: Graph, links: int) -> Profile:
    """Times of the right order, and reading in place now cheaper, now dearer than loading; the same at each call.

    Copies take longer than execution, so that no plan of one group is the best.
    """
    draw = random.Random(0)
    layers = []
    for layer, size in zip(graph.layers, layer_sizes(graph)):
        execute_ms = 0.01 + size / 20e6
        in_place_ms = execute_ms + draw.uniform(0.2, 2.0) * size / 4e6
        layers.append(
            LayerProfile(
                layer.name,
                layer.type,
                size,
                load_ms=0.01 + size / 4e6,
                execute_ms=execute_ms,
                direct_host_access_ms=in_place_ms if size and layer.direct_host_access else None,
            )
        )
    return Profile(layers=tuple(layers), links=(LinkProfile(0.01, 4.0),) * links, group_overhead_ms=0.005)


def available_links(backend: str, wanted: int) -> int:
    """As many links as are wanted, or as there are GPUs."""
    return wanted if backend == "host" else min(wanted, torch.cuda.device_count())


def open_session(source: Source, policy: str, backend: str, links: int = 1) -> Session:
    """Loads `source` by the plan that `policy` makes for it."""
    plan = deepplan.search(made_up_profile(source.captured.graph, links), policy)
    return Session(source, plan, resolve_devices([f"{backend}:{index}" for index in range(links)]))


def run_eagerly(model: torch.nn.Module, source: Source, backend: str) -> Any:
    """What the module itself returns for the source's inputs, in the source's precision, on the backend's device."""
    device = "cpu" if backend == "host" else "cuda:0"
    assert source.example_inputs is not None
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), source.example_inputs)
    if weights_on_meta(model):
        model = models.materialise(model, device)
    elif device != "cpu" or source.dtype in ("bf16", "fp16"):
        model = copy.deepcopy(model).to(device, {"bf16": torch.bfloat16, "fp16": torch.float16}.get(source.dtype))
    with torch.no_grad(), precision(source.dtype or None):
        return model(*args, **kwargs)


def assert_same(actual: Any, expected: Any) -> None:
    """The same nesting and classes, tensors close by `assert_close`'s defaults for their dtype, none of them NaN."""
    assert type(actual) is type(expected)
    leaves, spec = pytree.tree_flatten(actual)
    expected_leaves, expected_spec = pytree.tree_flatten(expected)
    assert spec == expected_spec
    for leaf, expected_leaf in zip(leaves, expected_leaves, strict=True):
        if isinstance(expected_leaf, torch.Tensor):
            torch.testing.assert_close(leaf, expected_leaf, equal_nan=False)
        else:
            assert leaf == expected_leaf


def check_session(session: Session, source: Source, expected: Any) -> None:
    """Calls it cold over poisoned memory, then warm. What was never resident has no memory to poison yet."""
    assert source.example_inputs is not None
    args, kwargs = source.example_inputs
    session(*args, **kwargs)
    assert session.evict(poison=True) and not session.is_resident
    assert_same(session(*args, **kwargs), expected)
    assert session.is_resident
    assert_same(session(*args, **kwargs), expected)


Check = Callable[..., Source]


@pytest.fixture
def check_engines() -> Check:
    """`check_engines(model, inputs, backend, dtype)`: cold and warm outputs of all engines equal the eager model's."""

    def check(
        model: torch.nn.Module, inputs: Inputs | None = None, backend: str = "host", dtype: str | None = "fp32"
    ) -> Source:
        source = resolve(model, inputs, dtype=dtype, keep=False)
        expected = run_eagerly(model, source, backend)
        sessions: dict[int, Session] = {}
        done = set()
        for engine in ENGINES:
            links = available_links(backend, engine.links)
            if (engine.policy, links) in done:  # there are fewer GPUs than it wants
                continue
            done.add((engine.policy, links))
            if links not in sessions:
                sessions[links] = open_session(source, engine.policy, backend, links)
            else:
                profile = made_up_profile(source.captured.graph, links)
                sessions[links].rebind(deepplan.search(profile, engine.policy))
            check_session(sessions[links], source, expected)
        for session in sessions.values():
            session.close()
        return source

    return check


@pytest.fixture
def check_large() -> Check:
    """`check_large(model, backend, dtype)`: the same of one engine, because there is no room for much more."""

    def check(model: torch.nn.Module, backend: str, dtype: str) -> Source:
        source = resolve(model, dtype=dtype, keep=False)
        expected = run_eagerly(model, source, backend)
        if backend == "cuda":
            torch.cuda.empty_cache()  # of the eager model
        with open_session(source, "optimal", backend) as session:
            check_session(session, source, expected)
        return source

    return check


@pytest.fixture
def check_cold_starts() -> Callable[..., None]:
    """`check_cold_starts(model, inputs, backend, count)`: so many in a row, each over poisoned memory, equal eager."""

    def check(model: torch.nn.Module, inputs: Inputs, backend: str, count: int) -> None:
        source = resolve(model, inputs, dtype="fp32", keep=False)
        expected = run_eagerly(model, source, backend)
        assert source.example_inputs is not None
        args, kwargs = source.example_inputs
        with open_session(source, "optimal", backend, available_links(backend, 4)) as session:
            assert session.plan.loaded_bytes and session.plan.direct_host_access_bytes
            session(*args, **kwargs)
            for _ in range(count):
                assert session.evict(poison=True)
                assert_same(session(*args, **kwargs), expected)

    return check


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """A small module that knows its input, fp32 of shape [2, 64]."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    module.example_inputs = torch.linspace(-1, 1, 128).reshape(2, 64)  # type: ignore[assignment]
    return module.eval().requires_grad_(False)


def profile_with_origin(
    model: torch.nn.Module, inputs: Inputs | None = None, devices: tuple[str, ...] = ("host:0",)
) -> Profile:
    """Made-up times, and the origin that a profile measured on this machine would have."""
    source = resolve(model, inputs)
    return replace(
        made_up_profile(source.captured.graph, len(devices)),
        model=source.name,
        model_digest=source.captured.graph.model_digest,
        machine=machine.machine_name(resolve_devices(devices)),
        devices=devices,
        torch=str(torch.__version__),
    )


@pytest.fixture(scope="session")
def profile_for() -> Callable[..., Profile]:
    """`profile_for(model, inputs, devices)`: as if it had been measured here."""
    return profile_with_origin


@pytest.fixture(scope="session")
def plan_for() -> Callable[..., deepplan.Plan]:
    """`plan_for(model, inputs, devices)`: a plan that loads everything, as if it had been measured here."""
    return lambda *args, **kwargs: deepplan.search(profile_with_origin(*args, **kwargs), "pipeswitch")


@pytest.fixture(scope="module")
def plan(model: torch.nn.Module) -> deepplan.Plan:
    """For `model`, on one host device."""
    return deepplan.search(profile_with_origin(model), "pipeswitch")


@pytest.fixture
def goes_on(model: torch.nn.Module, plan: deepplan.Plan) -> Iterator[None]:
    """After the test, pinned and device memory are as they were, and a model can be loaded and called."""
    before = _core.arena_stats().used_bytes, machine.target("host:0").used_bytes
    yield
    assert (_core.arena_stats().used_bytes, machine.target("host:0").used_bytes) == before
    with deepplan.load(model, plan) as session:
        assert torch.equal(session(model.example_inputs), model(model.example_inputs))
