"""Two hundred cold starts in a row: a wait that is missing or in the wrong place shows now and then, not always."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from deepplan.models.random_weights import fill_weights
from deepplan.models.resnet import ResNet

Check = Callable[..., None]


def test_of_a_transformer(check_cold_starts: Check, backend: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, vocab_size=2000
    )
    model = transformers.BertModel(config).eval()
    fill_weights(model)
    check_cold_starts(model, {"input_ids": torch.arange(16).reshape(1, 16) * 97 % 2000}, backend, count=200)


def test_of_a_residual_network(check_cold_starts: Check, backend: str) -> None:
    model = ResNet(depths=(1, 1, 1, 1)).eval().requires_grad_(False)
    fill_weights(model)
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    check_cold_starts(model, image, backend, count=200)
