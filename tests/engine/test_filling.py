"""How weights reach pinned memory: all at once, or in batches behind which the module's own are freed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import deepplan
import deepplan.models
from deepplan import _core
from deepplan.engine import filling
from deepplan.errors import InvalidInputError

MakePlan = Callable[..., deepplan.Plan]


def test_bytes_are_copied_whatever_the_dtypes() -> None:
    sources = [torch.randn(1000), torch.arange(7), torch.empty(0), torch.randn(3, 5).bfloat16(), torch.tensor(1.5)]
    places = [torch.zeros(source.nbytes, dtype=torch.uint8) for source in sources]
    _core.copy_bytes(places, sources)
    for place, source in zip(places, sources):
        assert torch.equal(place, source.reshape(-1).view(torch.uint8))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.zeros(4, 4).t()[1:], "contiguous"),
        (torch.zeros(2, device="meta"), "contiguous"),
        (torch.zeros(3), "12 bytes, its destination 8"),
    ],
    ids=["strided", "meta", "size"],
)
def test_what_is_no_plain_memory_is_refused(source: torch.Tensor, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        _core.copy_bytes([torch.zeros(8, dtype=torch.uint8)], [source])
    with pytest.raises(InvalidInputError, match="1 sources for 0"):
        _core.copy_bytes([], [source])


def test_released_memory_is_refused() -> None:
    source = torch.zeros(2)
    source.untyped_storage().resize_(0)
    with pytest.raises(InvalidInputError, match="released"):
        _core.copy_bytes([torch.zeros(8, dtype=torch.uint8)], [source])


def test_batches_cover_everything_and_stay_below_the_limit() -> None:
    storages = [torch.empty(size, dtype=torch.uint8) for size in (5, 5, 20, 3, 3, 4, 1)]
    assert list(filling._batches(storages, [0, 1, 2, 3, 4, 5, 6], 10)) == [[0, 1], [2], [3, 4, 5], [6]]
    assert list(filling._batches(storages, [1, 3, 6], 10)) == [[1, 3, 6]]


class OnMeta(torch.nn.Module):
    """A table on the meta device before a layer in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(100, 16, device="meta")
        self.layer = torch.nn.Linear(16, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.layer(self.table(ids))

    def fill_weight(self, name: str, place: torch.Tensor) -> None:
        assert name == "table.weight"
        place.copy_(torch.arange(1600.0).reshape(100, 16) / 1600)


@pytest.mark.parametrize("release", [False, True])
def test_weights_on_meta_get_their_values_in_pinned_memory(
    ids: torch.Tensor, make_plan: MakePlan, release: bool
) -> None:
    model = OnMeta().eval()
    plan, expected = make_plan(model, ids % 100), deepplan.models.materialise(model)(ids % 100)
    session = deepplan.load(model, plan, devices=["host:0"], example_inputs=ids % 100, release=release)
    assert torch.equal(session(ids % 100), expected)
    assert model.table.weight.is_meta
    assert (model.layer.weight.untyped_storage().size() == 0) is release


def test_each_batch_is_freed_before_the_next_is_copied(
    tiny: torch.nn.Module, ids: torch.Tensor, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, expected = make_plan(tiny, ids), tiny(ids)
    live_bytes: list[int] = []
    copy_bytes = _core.copy_bytes

    def watched(destinations: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
        live_bytes.append(sum(parameter.untyped_storage().size() for parameter in tiny.parameters()))
        copy_bytes(destinations, sources)

    monkeypatch.setattr(filling, "_BATCH_BYTES", 70 << 10)
    monkeypatch.setattr(_core, "copy_bytes", watched)
    session = deepplan.load(tiny, plan, devices=["host:0"], example_inputs=ids, release=True)
    assert len(live_bytes) > 2 and live_bytes == sorted(live_bytes, reverse=True) and live_bytes[-1] < live_bytes[0]
    assert all(parameter.untyped_storage().size() == 0 for parameter in tiny.parameters())
    assert torch.equal(session(ids), expected)
