"""Every model of the zoo: in full size on a GPU; on the host device the largest with fewer layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from deepplan import _core, models
from deepplan.models.construct import construct
from deepplan.models.inputs import draw_inputs
from deepplan.models.random_weights import fill_weights
from deepplan.models.tiled_weights import fill_weight
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
    "llama3_8b": {
        **{"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 224},
        **{"num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 32000},
    },
}

Check = Callable[..., object]


@pytest.mark.parametrize("name", models.names())
def test_equals_eager_on_the_host_device(name: str, check_engines: Check) -> None:
    entry = find(name)
    module = construct(replace(entry, config={**entry.config, **FEWER_LAYERS.get(name, {})}))
    if entry.on_meta:
        module.fill_weight = fill_weight
    else:
        fill_weights(module)
    check_engines(module, draw_inputs(entry, batch_size=1), dtype=entry.dtype)


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name in models.names() if not find(name).on_meta])
def test_equals_eager_on_a_gpu(name: str, check_engines: Check) -> None:
    check_engines(models.build(name), backend="cuda")
    torch.cuda.empty_cache()


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name in models.names() if find(name).on_meta])
def test_a_large_model_equals_eager_on_a_gpu(name: str, check_large: Check) -> None:
    check_large(models.build(name), backend="cuda", dtype=find(name).dtype)
    _core.trim_arena()


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["resnet50", "bert_base"])
def test_equals_eager_in_bf16_on_a_gpu(name: str, check_engines: Check) -> None:
    check_engines(models.build(name), backend="cuda", dtype="bf16")


def test_equals_eager_in_bf16_on_the_host_device(check_engines: Check) -> None:
    entry = find("t5_small")
    module = construct(replace(entry, config={**entry.config, "num_layers": 1}))
    fill_weights(module)
    check_engines(module, draw_inputs(entry, batch_size=1), dtype="bf16")
