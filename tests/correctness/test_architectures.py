"""Architectures outside the zoo, small: the same operators and wiring as the models that people download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

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


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Without a bias, and normalised."""
    weights = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [weights, nn.BatchNorm2d(outputs, eps=0.001)]


class SqueezeExcite(nn.Module):
    """Scales each channel by what the means of all channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = nn.functional.relu(self.squeeze(nn.functional.adaptive_avg_pool2d(x, 1)))
        return nn.functional.hardsigmoid(self.excite(scale)) * x


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expands, convolves each channel by itself, squeezes and excites, projects, adds."""

    def __init__(self, inputs: int, expanded: int, outputs: int, size: int, stride: int, activation: nn.Module) -> None:
        super().__init__()
        self.is_residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *convolution(inputs, expanded, 1),
            activation,
            *convolution(expanded, expanded, size, stride, groups=expanded),
            activation,
            SqueezeExcite(expanded),
            *convolution(expanded, outputs, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


def mobilenet_v3() -> nn.Module:
    """MobileNetV3 ("Searching for MobileNetV3", ICCV'19) with fewer blocks; torchvision's own is not always there."""
    torch.manual_seed(0)
    hardswish, relu = nn.Hardswish(inplace=True), nn.ReLU(inplace=True)
    model = nn.Sequential(
        *convolution(3, 16, 3, stride=2),
        hardswish,
        InvertedResidual(16, 16, 16, 3, 2, relu),
        InvertedResidual(16, 72, 24, 3, 2, relu),
        InvertedResidual(24, 88, 24, 3, 1, relu),
        InvertedResidual(24, 96, 40, 5, 2, hardswish),
        InvertedResidual(40, 240, 40, 5, 1, hardswish),
        *convolution(40, 240, 1),
        hardswish,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(240, 256),
        hardswish,
        nn.Dropout(0.2),
        nn.Linear(256, 100),
    )
    for weight in model.parameters():  # by default signals fade to below what a comparison tolerates
        if weight.dim() > 1:
            nn.init.kaiming_normal_(weight)
    return model.eval()


def test_mobilenet_v3_equals_eager(check_engines: Check, backend: str) -> None:
    check_engines(mobilenet_v3(), torch.randn(1, 3, 64, 64), backend)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny", "vit_b_16", "swin_t", "efficientnet_b0"])
def test_torchvisions_equal_eager(name: str, check_engines: Check, backend: str) -> None:
    torchvision = pytest.importorskip("torchvision.models", exc_type=ImportError)
    torch.manual_seed(0)
    size = 224 if name == "vit_b_16" else 64
    check_engines(getattr(torchvision, name)(weights=None).eval(), torch.randn(1, 3, size, size), backend)
