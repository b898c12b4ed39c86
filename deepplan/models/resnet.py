"""Residual networks with torchvision's architecture and parameter names, so that its weights load.

He et al., "Deep Residual Learning" (2016), with the stride in the 3x3 convolution; Xie et al., "Aggregated Residual
Transformations" (ResNeXt, 2017); Zagoruyko and Komodakis, "Wide Residual Networks" (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

_EXPANSION = 4  # of a bottleneck's output over its nominal width


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside an identity: [N, inputs, H, W] to [N, 4 * width, H/stride, W/stride]."""

    def __init__(self, inputs: int, width: int, stride: int, groups: int, width_per_group: int) -> None:
        super().__init__()
        inner, outputs = width * width_per_group // 64 * groups, width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, inner, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return cast(Tensor, self.relu(out))


class ResNet(nn.Module):
    """A residual network of bottlenecks, `depths` of them in each of four stages: images [N, 3, H, W] to [N, 1000]."""

    def __init__(self, depths: Sequence[int], groups: int = 1, width_per_group: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        inputs = 64
        for index, depth in enumerate(depths):
            width, stride = 64 << index, 1 if index == 0 else 2
            stage = nn.Sequential()
            for _ in range(depth):
                stage.append(Bottleneck(inputs, width, stride, groups, width_per_group))
                inputs, stride = width * _EXPANSION, 1
            self.add_module(f"layer{index + 1}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for index in range(1, 5):
            x = self.get_submodule(f"layer{index}")(x)
        x = self.avgpool(x)
        return cast(Tensor, self.fc(torch.flatten(x, 1)))
