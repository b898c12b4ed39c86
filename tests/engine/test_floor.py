"""The floor of some hardware: the resident model, or its bytes over the links."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from deepplan.engine.devices import Devices
from deepplan.engine.floor import Floor, bytes_that_must_cross, link_counts, measure_floor, measure_link_gbps
from deepplan.engine.resident import Resident
from deepplan.engine.source import resolve

TABLE = 4 * 1000 * 64
DENSE = 4 * (2 * 64 + 64 * 256 + 256 + 256 * 64 + 64 + 64 * 10 + 10)


class Tied(torch.nn.Module):
    """A table that is gathered at the start and multiplied with at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(1000, 64)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(self.table(ids), self.table.weight)


def test_a_table_that_is_only_gathered_need_not_cross(tiny: torch.nn.Module, ids: torch.Tensor) -> None:
    graph = resolve(tiny, ids, keep=False).captured.graph
    assert bytes_that_must_cross(graph) == DENSE
    assert graph.size_bytes == DENSE + TABLE


def test_a_table_that_is_multiplied_with_has_to(ids: torch.Tensor) -> None:
    assert bytes_that_must_cross(resolve(Tied().eval(), ids, keep=False).captured.graph) == TABLE


def test_a_floor_is_its_larger_part() -> None:
    floor = Floor(Resident(2.0, "eager"), crossing_bytes=300_000_000, link_gbps=50.0)
    assert [floor.crossing_ms(links) for links in (1, 2, 4)] == [6.0, 3.0, 1.5]
    assert [floor.floor_ms(links) for links in (1, 2, 4)] == [6.0, 3.0, 2.0]


def test_both_parts_are_measured(tiny: torch.nn.Module, ids: torch.Tensor, set_host_links: Callable[..., None]) -> None:
    set_host_links(link_gbps=2.0)
    graph = resolve(tiny, ids, keep=False).captured.graph
    floor = measure_floor(graph, Resident(0.5, "eager"), Devices(("host:0", "host:1")))
    assert floor.crossing_bytes == DENSE and floor.resident.latency_ms == 0.5
    assert 1 < floor.link_gbps <= 2.1  # of the target's link, whatever the other could carry


@pytest.mark.cuda
def test_a_real_link_carries_some_gigabytes_a_second() -> None:
    assert 1 < measure_link_gbps(Devices(("cuda:0",))) < 1000


@pytest.mark.parametrize(
    ("available", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (8, [1, 2, 4, 8])]
)
def test_links_are_doubled_until_all_are_used(available: int, counts: list[int]) -> None:
    assert link_counts(available) == counts
