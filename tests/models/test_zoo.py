from __future__ import annotations

import subprocess
import sys

import pytest

from deepplan import models
from deepplan.errors import InvalidInputError, UnknownNameError

# Millions of parameters, as the architectures' papers and checkpoints have them.
SIZES = {
    "resnet50": 25.56,
    "resnet101": 44.55,
    "resnext50": 25.03,
    "resnext101": 88.79,
    "wide_resnet50": 68.88,
    "wide_resnet101": 126.89,
    "bert_base": 109.48,
    "bert_large": 335.14,
    "roberta_base": 124.65,
    "roberta_large": 355.36,
    "gpt2": 124.44,
    "gpt2_medium": 354.82,
    "gpt2_384": 124.44,
    "bart_base": 139.42,
    "t5_small": 60.51,
    "t5_base": 222.90,
    "llama3_8b": 8030.26,
}


def test_every_name_is_tested() -> None:
    assert set(models.names()) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_size(name: str) -> None:
    from deepplan.models.construct import construct
    from deepplan.models.zoo import find

    module = construct(find(name))
    millions = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    assert millions == pytest.approx(SIZES[name], abs=0.006)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    config = getattr(module, "config", None)
    assert config is None or config._attn_implementation == "sdpa"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'resnet5'.*resnet50.*t5_base"):
        models.build("resnet5")
    with pytest.raises(UnknownNameError, match="bert_base"):
        models.example_inputs("bert")


def test_example_inputs() -> None:
    import torch

    image = models.example_inputs("resnet50", batch_size=3)
    assert isinstance(image, torch.Tensor)
    assert image.shape == (3, 3, 224, 224) and image.dtype == torch.float32
    assert torch.equal(image, models.example_inputs("resnet101", batch_size=3))
    lengths = {"llama3_8b": 128, "bert_base": 384, "roberta_large": 384, "gpt2": 1024, "gpt2_384": 384, "t5_small": 384}
    for name, length in lengths.items():
        tokens = models.example_inputs(name)
        assert isinstance(tokens, dict)
        assert all(ids.shape == (1, length) and ids.dtype == torch.int64 for ids in tokens.values())
    assert list(models.example_inputs("bert_base")) == ["input_ids"]
    with pytest.raises(InvalidInputError, match="0"):
        models.example_inputs("gpt2", batch_size=0)


def test_importing_the_zoo_is_light() -> None:
    code = "import sys, deepplan.models as m; m.names(); sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code = "import sys, deepplan.models as m; m.build('resnet50'); sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_default_dtypes() -> None:
    assert models.default_dtype("llama3_8b") == "bf16"
    assert models.default_dtype("bert_base") == models.default_dtype("no such model") == "fp32"
