"""Small models and plans that every test of the engine shares, and the devices they run on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch

import deepplan
from deepplan.planning.profile import LayerProfile, LinkProfile, Profile

BACKENDS = ["host", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Every test that takes this runs on the host device and, where there is one, on a GPU."""
    name: str = request.param
    return name


@pytest.fixture
def set_host_links() -> Iterator[Callable[..., None]]:
    """`set_host_links(link_gbps=0.5)` for one test."""
    from deepplan.engine import machine

    yield lambda **settings: machine.set_host_links(machine.HostLinks(**settings))
    machine.set_host_links(machine.HostLinks())


@pytest.fixture
def on_gpu() -> Callable[..., torch.Tensor]:
    """`on_gpu(model, *inputs)`: what the module itself answers there."""

    def answer(model: torch.nn.Module, *args: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = copy.deepcopy(model).cuda()(*(arg.cuda() for arg in args))
        return result

    return answer


class TinyNet(torch.nn.Module):
    """A table that is gathered, layers that are loaded, one without parameters, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(1000, 64)
        self.norm = torch.nn.LayerNorm(64)
        self.first = torch.nn.Linear(64, 256)
        self.act = torch.nn.GELU()
        self.second = torch.nn.Linear(256, 64)
        self.head = torch.nn.Linear(64, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embed(ids))
        return self.head(self.second(self.act(self.first(x))) + x)


@pytest.fixture
def tiny() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet().eval()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.arange(12).reshape(2, 6) * 37 % 1000


def profile_of(graph: object, links: int = 1) -> Profile:
    """A profile with made-up times for the layers of `graph`, so that a plan can be made without measuring."""
    from deepplan.engine.binding import layer_sizes

    layers = tuple(
        LayerProfile(layer.name, layer.type, size, 0.1, 0.1, 0.2 if size and layer.direct_host_access else None)
        for layer, size in zip(graph.layers, layer_sizes(graph))  # type: ignore[attr-defined, arg-type]
    )
    return Profile(layers=layers, links=(LinkProfile(0.01, 4.0),) * links)


def load_each_layer(profile: Profile, links: int) -> tuple[list[str], list[int], list[int]]:
    """Every layer with parameters a group of its own, the links taking turns."""
    sizes = [layer.size_bytes > 0 for layer in profile.layers]
    counts = iter(range(sum(sizes)))
    groups = [next(counts) if has else -1 for has in sizes]
    return ["load" if has else "dha" for has in sizes], groups, [i % links for i in range(sum(sizes))]


def read_in_place(profile: Profile, links: int) -> tuple[list[str], list[int], list[int]]:
    """Nothing is loaded."""
    return ["dha"] * len(profile.layers), [-1] * len(profile.layers), []


CHOICES = {"each_layer": load_each_layer, "in_place": read_in_place}
MakePlan = Callable[..., deepplan.Plan]


@pytest.fixture
def make_plan() -> MakePlan:
    """`make_plan(model, inputs, how, links)`: `how` is a policy's name, or "each_layer" or "in_place"."""
    from deepplan.engine.source import resolve

    def make(model: torch.nn.Module, inputs: object, how: str = "optimal", links: int = 1) -> deepplan.Plan:
        graph = resolve(model, inputs).captured.graph  # type: ignore[arg-type]
        profile = profile_of(graph, links)
        if how in CHOICES:
            return deepplan.Plan.from_choices(profile, *CHOICES[how](profile, links))
        return deepplan.search(profile, how)

    return make
