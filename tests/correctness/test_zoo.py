"""Every model of the zoo: in full size on a GPU; on the host device the largest with fewer layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from deepplan import models
from deepplan.models.construct import construct
from deepplan.models.inputs import draw_inputs
from deepplan.models.random_weights import fill_weights
from deepplan.models.zoo import find

# A forward pass of each takes a second or more on two cores. Their layers are all alike.
FEWER_LAYERS = {
    "resnext101": {"depths": (1, 2, 3, 1)},
    "wide_resnet50": {"depths": (1, 1, 1, 1)},
    "wide_resnet101": {"depths": (1, 2, 3, 1)},
    "bert_large": {"num_hidden_layers": 1},
    "roberta_large": {"num_hidden_layers": 1},
    "gpt2": {"n_layer": 1},
    "gpt2_medium": {"n_layer": 1},
    "t5_base": {"num_layers": 2},
}

Check = Callable[..., object]


@pytest.mark.parametrize("name", models.names())
def test_equals_eager_on_the_host_device(name: str, check_engines: Check) -> None:
    entry = find(name)
    module = construct(replace(entry, config={**entry.config, **FEWER_LAYERS.get(name, {})}))
    fill_weights(module)
    check_engines(module, draw_inputs(entry, batch_size=1))


@pytest.mark.cuda
@pytest.mark.parametrize("name", models.names())
def test_equals_eager_on_a_gpu(name: str, check_engines: Check) -> None:
    check_engines(models.build(name), backend="cuda")
    torch.cuda.empty_cache()


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["resnet50", "bert_base"])
def test_equals_eager_in_bf16_on_a_gpu(name: str, check_engines: Check) -> None:
    check_engines(models.build(name), backend="cuda", dtype="bf16")


def test_equals_eager_in_bf16_on_the_host_device(check_engines: Check) -> None:
    entry = find("t5_small")
    module = construct(replace(entry, config={**entry.config, "num_layers": 1}))
    fill_weights(module)
    check_engines(module, draw_inputs(entry, batch_size=1), dtype="bf16")
