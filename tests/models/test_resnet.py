from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from deepplan import models
from deepplan.models.construct import construct
from deepplan.models.resnet import ResNet
from deepplan.models.zoo import find

NAMES = {
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnext50": "resnext50_32x4d",
    "resnext101": "resnext101_32x8d",
    "wide_resnet50": "wide_resnet50_2",
    "wide_resnet101": "wide_resnet101_2",
}


@pytest.fixture
def torchvision() -> Any:
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:  # beside a torch that it was not built for it raises the latter
        pytest.skip(f"torchvision cannot be imported: {error}")


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_torchvisions(name: str, torchvision: Any) -> None:
    with torch.device("meta"):
        reference = torchvision.models.get_model(NAMES[name])
    expected = {key: value.shape for key, value in reference.state_dict().items()}
    ours = construct(find(name))
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
    assert [x for x, _ in ours.named_modules()] == [x for x, _ in reference.named_modules()]


@pytest.mark.parametrize("name", ["resnet50", "resnext50"])
def test_outputs_are_torchvisions(name: str, torchvision: Any) -> None:
    ours = models.build(name)
    reference = torchvision.models.get_model(NAMES[name]).eval()
    reference.load_state_dict(ours.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(ours.example_inputs), reference(ours.example_inputs), rtol=0, atol=0)


def test_shapes() -> None:
    module = ResNet(depths=(1, 1, 1, 1), groups=2, width_per_group=32).eval()
    assert module(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)
    assert module.get_parameter("layer4.0.conv2.weight").shape == (512, 256, 3, 3)
