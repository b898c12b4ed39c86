"""torchvision's families equal eager execution to the bit (where torchvision imports)."""

import pytest
import torch

models = pytest.importorskip("torchvision.models")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny", "swin_t", "densenet121"])
def test_a_family_equals_eager(name, check_against_eager):
    torch.manual_seed(0)
    captured = check_against_eager(getattr(models, name)(weights=None).eval(), torch.randn(1, 3, 64, 64))
    assert not any("num_batches_tracked" in weight.name for weight in captured.graph.weights)
