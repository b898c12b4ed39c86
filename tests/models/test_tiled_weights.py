from __future__ import annotations

import pytest
import torch

from deepplan.models import tiled_weights
from deepplan.models.tiled_weights import fill_weight


def filled(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    place = torch.full(shape, torch.nan, dtype=dtype)
    fill_weight(name, place)
    return place


@pytest.fixture
def small_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile of 1009 values, of which larger parameters take several turns."""
    monkeypatch.setattr(tiled_weights, "_TILE_VALUES", 1009)
    tiled_weights._tile.cache_clear()
    yield
    tiled_weights._tile.cache_clear()


def test_values_depend_on_the_name_alone() -> None:
    before = torch.get_rng_state()
    first = filled("layers.0.up.weight", 300, 400)
    assert torch.equal(first, filled("layers.0.up.weight", 300, 400))
    assert not torch.equal(first, filled("layers.1.up.weight", 300, 400))
    assert torch.equal(first.bfloat16(), filled("layers.0.up.weight", 300, 400, dtype=torch.bfloat16))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_distribution_is_that_of_other_models() -> None:
    table = filled("embed.weight", 1000, 1000)
    assert float(table.mean()) == pytest.approx(0, abs=1e-4)
    assert float(table.std()) == pytest.approx(0.02, rel=0.01)
    norm = filled("norm.weight", 100000)
    assert float(norm.mean()) == pytest.approx(1, abs=1e-3) and float(norm.std()) == pytest.approx(0.02, rel=0.02)


def test_a_parameter_may_be_larger_than_the_tile(small_tile: None) -> None:
    table = filled("embed.weight", 64, 128)
    assert torch.isfinite(table).all()
    assert torch.linalg.matrix_rank(table) == 64  # no row comes back at its own columns
    assert torch.equal(table.view(-1)[1009:2018].sort().values, table.view(-1)[:1009].sort().values)
