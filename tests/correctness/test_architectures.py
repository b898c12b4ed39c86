"""Architectures outside the zoo, small: the same operators and wiring as the models that people download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

Check = Callable[..., object]

WIDTHS = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
DISTILBERT = {"dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4, "vocab_size": 500}
LLAMA = {**WIDTHS, "num_key_value_heads": 2, "vocab_size": 500, "use_cache": False}
CONVNEXT = {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 2, 1]}
MOBILEVIT = {"hidden_sizes": [32, 48, 64], "neck_hidden_sizes": [8, 8, 16, 32, 48, 64, 128], "image_size": 64}


def ids(length: int = 32) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.arange(length).reshape(1, length) * 37 % 500}


def image(size: int = 64) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))}


def mask_of(length: int = 32) -> dict[str, torch.Tensor]:
    """Five tokens of padding."""
    return {"attention_mask": (torch.arange(length) < length - 5).long().reshape(1, length)}


MODELS = {
    "ViT": ("ViTModel", {**WIDTHS, "image_size": 64}, image()),
    "a Llama-style decoder": ("LlamaForCausalLM", LLAMA, ids()),
    "Mistral": ("MistralModel", {**LLAMA, "sliding_window": 16}, ids()),
    "DistilBERT": ("DistilBertModel", DISTILBERT, ids()),
    "DistilBERT with padding": ("DistilBertModel", DISTILBERT, {**ids(), **mask_of()}),
    "ConvNeXt": ("ConvNextModel", CONVNEXT, image()),
    "MobileNetV2": ("MobileNetV2Model", {"depth_multiplier": 0.25, "image_size": 64}, image()),
    "MobileViT": ("MobileViTModel", MOBILEVIT, image()),
    "Mamba": ("MambaModel", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 500, "use_cache": False}, ids()),
}


def build(architecture: str, config: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(0)
    model = getattr(transformers, architecture)
    module: torch.nn.Module = model(model.config_class(**config)).eval()
    return module


@pytest.mark.parametrize("name", MODELS)
def test_equals_eager(name: str, check_engines: Check, backend: str) -> None:
    architecture, config, inputs = MODELS[name]
    check_engines(build(architecture, config), inputs, backend)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny", "vit_b_16", "swin_t", "efficientnet_b0"])
def test_torchvisions_equal_eager(name: str, check_engines: Check, backend: str) -> None:
    torchvision = pytest.importorskip("torchvision.models", exc_type=ImportError)
    torch.manual_seed(0)
    size = 224 if name == "vit_b_16" else 64
    check_engines(getattr(torchvision, name)(weights=None).eval(), torch.randn(1, 3, size, size), backend)
