"""The single layers of Figure 5, and what they are called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Kind:
    """One layer. `make` builds it, `make_input` its fp32 or integer input; `dtype` is a precision of deepplan."""

    title: str
    family: str
    dtype: str
    make: Callable[[], nn.Module]
    make_input: Callable[[], torch.Tensor]
    channels_last: bool = False


def _embedding(tokens: int) -> Kind:
    title = f"embedding 30522x768, {tokens} token{'s' * (tokens > 1)}"
    return Kind(title, "embedding", "fp32", lambda: nn.Embedding(30522, 768), lambda: torch.arange(tokens)[None] * 61)


def _layer_norm(rows: int) -> Kind:
    title = f"layer norm 768, {rows} rows"
    return Kind(title, "norm", "fp32", lambda: nn.LayerNorm(768), lambda: torch.randn(rows, 768))


def _batch_norm(channels: int, size: int) -> Kind:
    title = f"batch norm {channels} on {size}x{size}"
    return Kind(title, "norm", "fp32", lambda: nn.BatchNorm2d(channels), lambda: torch.randn(1, channels, size, size))


def _linear(rows: int, dtype: str) -> Kind:
    title = f"linear 768 to 3072, {rows} row{'s' * (rows > 1)}"
    return Kind(title, "linear", dtype, lambda: nn.Linear(768, 3072), lambda: torch.randn(rows, 768))


def _conv(inputs: int, outputs: int, kernel: int, size: int, dtype: str = "fp32", stride: int = 1) -> Kind:
    title = f"conv {inputs} to {outputs}, {kernel}x{kernel} on {size}x{size}"
    return Kind(
        title,
        "convolution",
        dtype,
        lambda: nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        lambda: torch.randn(1, inputs, size, size),
        channels_last=dtype != "fp32",
    )


KINDS = (
    _embedding(1),
    _embedding(384),
    _layer_norm(384),
    _batch_norm(64, 56),
    _batch_norm(2048, 7),
    *(_linear(rows, dtype) for dtype in ("fp32", "bf16") for rows in (1, 8, 128, 384)),
    _conv(3, 64, 7, 224, stride=2),
    _conv(64, 64, 3, 56),
    _conv(512, 512, 3, 7),
    _conv(512, 512, 3, 7, dtype="fp16"),
    _conv(512, 2048, 1, 7),
)
