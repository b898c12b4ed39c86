"""Modules without values: the graph is the one they have with values, and these are written where they are wanted."""

import pytest
import torch
from torch import nn

from deepplan import models
from deepplan.engine.filling import storages_with_values
from deepplan.errors import ExportError, InvalidInputError
from deepplan.export.capture import capture
from deepplan.export.convert import Captured
from deepplan.export.meta import weights_on_meta


class Model(nn.Module):
    """A tied table, a buffer with values, constants computed from the input's device, and weights on meta."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8, device="meta")
        self.head = nn.Linear(8, 20, device="meta")
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.linspace(1, 2, 8), persistent=False)
        self.register_buffer("shift", torch.empty(8, device="meta"))
        self.calls = []

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return self.head(self.embedding(tokens) * self.scale + positions[:, None] + self.shift)

    def fill_weight(self, name, place):
        generator = torch.Generator().manual_seed(len(name))
        place.copy_(torch.randn(place.shape, generator=generator))


@pytest.fixture
def model():
    return Model().eval().requires_grad_(False)


@pytest.fixture
def tokens():
    return torch.tensor([[1, 2, 3]])


def test_the_graph_is_that_of_the_model_with_values(model, tokens):
    captured, expected = capture(model, (tokens,)), capture(models.materialise(model), (tokens,))
    assert captured.graph == expected.graph
    assert weights_on_meta(model).keys() == {"embedding.weight", "head.weight", "head.bias", "shift"}  # as before
    on_meta = {storage.name for storage, memory in zip(captured.graph.storages, captured.storages) if memory.is_meta}
    assert on_meta == {"head.weight", "head.bias", "shift"}


def test_values_are_those_of_the_materialised_model(model, tokens, interpret):
    captured, real = capture(model, (tokens,)), models.materialise(model)
    storages = storages_with_values(captured)
    for memory, expected in zip(storages, capture(real, (tokens,)).storages):
        assert torch.equal(memory, expected)
    assert torch.equal(interpret(Captured(captured.graph, storages))(tokens), real(tokens))


def test_a_tied_weight_is_filled_by_its_first_name(model):
    real = models.materialise(model)
    assert real.head.weight is real.embedding.weight
    expected = torch.empty(20, 8)
    model.fill_weight("embedding.weight", expected)
    assert torch.equal(real.head.weight, expected)


def test_a_materialised_model_shares_nothing(model):
    models.materialise(model).scale.zero_()
    assert float(model.scale[0]) == 1


def test_what_has_values_is_not_copied(model, tokens):
    captured = capture(model, (tokens,))
    scale = next(memory for memory in captured.storages if not memory.is_meta)
    assert scale.data_ptr() == model.scale.data_ptr()


def test_without_values_it_is_refused(tokens):
    module = nn.Embedding(5, 2, device="meta").eval()
    with pytest.raises(ExportError, match=r"'weight' has no values.*fill_weight"):
        capture(module, (tokens,))
    with pytest.raises(InvalidInputError, match="fill_weight"):
        models.materialise(module)
