"""From a zoo entry to a module whose weights have no values yet."""

from __future__ import annotations

import torch

from deepplan.models.random_weights import without_initialisation
from deepplan.models.zoo import Entry


def construct(entry: Entry) -> torch.nn.Module:
    """The entry's architecture in fp32 on the CPU, in eval mode, without gradients; buffers have their values.

    The caller's default dtype and device play no part.
    """
    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"), without_initialisation():
            module = _resnet(entry) if entry.architecture == "ResNet" else _transformer(entry)
    finally:
        torch.set_default_dtype(default_dtype)
    return module.eval().requires_grad_(False)


def _resnet(entry: Entry) -> torch.nn.Module:
    from deepplan.models.resnet import ResNet

    return ResNet(**entry.config)


def _transformer(entry: Entry) -> torch.nn.Module:
    import transformers

    config = getattr(transformers, f"{entry.architecture}Config")(attn_implementation="sdpa", **entry.config)
    module: torch.nn.Module = getattr(transformers, f"{entry.architecture}Model")(config)
    return module
