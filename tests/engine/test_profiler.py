"""A profile has the model's layers as they are and the links as they were set; runs on links that outlast any noise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

import deepplan
from deepplan.engine import machine, profiler
from deepplan.engine.binding import layer_sizes
from deepplan.engine.devices import Devices
from deepplan.engine.profiler import _sparing
from deepplan.engine.sampling import Sample
from deepplan.engine.source import resolve
from deepplan.planning.profile import Profile

LINK_GBPS = 0.1


class Wide(torch.nn.Module):
    """9.5 MB: a table, a layer without parameters, two large layers, and a use of the table's memory as a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(4000, 64)
        self.first = torch.nn.Linear(64, 1024)
        self.act = torch.nn.GELU()
        self.second = torch.nn.Linear(1024, 1024)
        self.third = torch.nn.Linear(1024, 1024)
        self.last = torch.nn.Linear(1024, 64)
        self.head = torch.nn.Linear(64, 4000, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.last(self.third(self.second(self.act(self.first(self.embed(ids)))))))


@pytest.fixture(scope="module")
def wide() -> Wide:
    return Wide().eval()


@pytest.fixture(scope="module")
def profile_on(wide: Wide) -> Iterator[Callable[..., tuple[Profile, list[float]]]]:
    """`profile_on("host:0", "host:1")`: the profile over slow links, and what was reported meanwhile; measured once."""
    kept: dict[tuple[str, ...], tuple[Profile, list[float]]] = {}

    def profile(*devices: str) -> tuple[Profile, list[float]]:
        if devices not in kept:
            shares: list[float] = []
            measured = deepplan.profile(wide, torch.zeros(1, 4, dtype=torch.int64), devices, report=shares.append)
            kept[devices] = measured, shares
        return kept[devices]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiler, "_BUDGET_S", 0.5)
        machine.set_host_links(machine.HostLinks(link_gbps=LINK_GBPS))
        yield profile
        machine.set_host_links(machine.HostLinks())


ProfileOn = Callable[..., tuple[Profile, list[float]]]
DEVICES = [("host:0",), ("host:0", "host:1"), ("host:2", "host:0", "host:1")]


def check_layers(profile: Profile, model: torch.nn.Module, inputs: torch.Tensor) -> None:
    graph = resolve(model, inputs).captured.graph
    assert [layer.name for layer in profile.layers] == [layer.name for layer in graph.layers]
    assert [layer.type for layer in profile.layers] == [layer.type for layer in graph.layers]
    assert [layer.size_bytes for layer in profile.layers] == layer_sizes(graph)
    assert profile.model_digest == graph.model_digest
    for measured, layer in zip(profile.layers, graph.layers):
        readable = layer.direct_host_access and measured.size_bytes > 0
        assert (measured.direct_host_access_ms is not None) == readable, layer.name


@pytest.mark.parametrize("devices", DEVICES)
def test_layers_are_the_graphs(profile_on: ProfileOn, wide: Wide, devices: tuple[str, ...]) -> None:
    profile, _ = profile_on(*devices)
    check_layers(profile, wide, torch.zeros(1, 4, dtype=torch.int64))
    assert profile.layers[-1].size_bytes == 4 * 4000 * 64  # the head's, where the table's lookup reads it in place
    assert all(layer.direct_host_access_link_ms is None for layer in profile.layers)


@pytest.mark.parametrize("devices", DEVICES)
def test_links_are_as_fast_as_they_were_set(profile_on: ProfileOn, devices: tuple[str, ...]) -> None:
    profile, _ = profile_on(*devices)
    assert len(profile.links) == len(devices)
    assert [len(links) for links in profile.fewer_links] == list(range(1, len(devices)))
    for link in itertools.chain(profile.links, *profile.fewer_links):
        assert LINK_GBPS / 2 < link.bandwidth_gbps < LINK_GBPS * 2
        assert 0 < link.latency_ms < 5


def test_large_layers_take_as_long_as_their_bytes(profile_on: ProfileOn) -> None:
    profile, _ = profile_on("host:0")
    large = [layer for layer in profile.layers if layer.name in ("second", "third")]
    assert len(large) == 2
    for layer in large:
        bytes_ms = layer.size_bytes / (LINK_GBPS * 1e6)
        assert 0.9 * bytes_ms < layer.load_ms < 3 * bytes_ms
        assert layer.direct_host_access_ms is not None
        assert layer.direct_host_access_ms > 1.2 * bytes_ms  # beside copies that take their share of the link
    assert [layer.load_ms for layer in profile.layers if not layer.size_bytes] == [0.0, 0.0]  # the lookup and act


@pytest.mark.parametrize("devices", DEVICES)
def test_progress_only_rises_and_ends_at_all(profile_on: ProfileOn, devices: tuple[str, ...]) -> None:
    _, shares = profile_on(*devices)
    assert all(earlier <= later for earlier, later in itertools.pairwise(shares))
    assert shares[0] > 0 and shares[-1] == 1.0
    assert len(shares) > 5


def test_a_profile_says_what_it_is_of(profile_on: ProfileOn, tmp_path: Path) -> None:
    profile, _ = profile_on("host:2", "host:0", "host:1")
    assert (profile.model, profile.dtype, profile.batch_size) == ("Wide", "", 1)
    assert profile.machine.startswith(f"host-{LINK_GBPS:g}gbps-")
    assert profile.torch == str(torch.__version__)
    assert profile.devices == ("host:2", "host:0", "host:1")
    assert profile.warm_ms is not None and profile.warm_ms > 0
    profile.save(tmp_path / "profile.json")
    assert Profile.load(tmp_path / "profile.json") == profile
    assert deepplan.search(profile).predicted_ms > 0


def without_parameters() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Tanh()).eval()


@pytest.mark.parametrize("devices", [("host:0",), ("host:0", "host:1")])
def test_a_model_without_parameters_has_links_too(devices: Sequence[str], set_host_links: Callable[..., None]) -> None:
    set_host_links(link_gbps=0.5)
    model, x = without_parameters(), torch.ones(1, 8)
    profile = deepplan.profile(model, x, devices)
    check_layers(profile, model, x)
    assert len(profile.links) == len(devices)
    for link in profile.links:
        assert 0.25 < link.bandwidth_gbps < 1
    with deepplan.load(model, deepplan.search(profile)) as session:
        assert torch.equal(session(x), model(x))


@pytest.mark.parametrize(("budget_s", "spent_s"), [(None, 3.0), (0.1, 0.1)])
def test_each_kind_of_run_takes_the_budget_that_was_given(
    tiny: torch.nn.Module, ids: torch.Tensor, budget_s: float | None, spent_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    def stop(session: object, inputs: object, dtype: object, target: object, budget: float, captures: object) -> None:
        assert budget == spent_s
        raise StopError

    monkeypatch.setattr(profiler, "_BUDGET_S", 3.0)
    monkeypatch.setattr(profiler, "Sampler", stop)
    source = resolve(tiny, ids, keep=False)
    with pytest.raises(StopError):
        profiler.profile_source(
            source, Devices(("host:0",)), source.tensor_inputs(), lambda share: None, budget_s=budget_s
        )


def test_a_plan_can_be_made_and_run_on_every_backend(
    backend: str, tiny: torch.nn.Module, ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiler, "_BUDGET_S", 0.2)
    profile = deepplan.profile(tiny, ids, [f"{backend}:0"])
    check_layers(profile, tiny, ids)
    assert all(layer.execute_ms > 0 for layer in profile.layers if layer.size_bytes)
    with deepplan.load(tiny, deepplan.search(profile)) as session:
        torch.testing.assert_close(session(ids).cpu(), tiny(ids))


def test_layers_that_read_more_than_their_bytes_are_told_apart(tiny: torch.nn.Module, ids: torch.Tensor) -> None:
    """With 1 GB/s a layer's bytes take `size` / 1e6 ms; a lookup's are those of its whole table."""
    graph = resolve(tiny, ids).captured.graph
    sizes = layer_sizes(graph)

    def sample(layers_ms: list[float]) -> Sample:
        return Sample(tuple(layers_ms), (0.0,) * len(sizes), (), 1.0)

    execute = [0.01] * len(sizes)
    once = sample([0.01 + size / 1e6 for size in sizes])
    thrice = sample([0.01 + 0.1 + 3 * size / 1e6 for size in sizes])
    assert _sparing(graph, once, sample(execute), 1.0) == [True] * len(sizes)
    assert not any(_sparing(graph, thrice, sample(execute), 1.0))
