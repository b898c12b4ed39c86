"""From a zoo entry to a module whose weights have no values yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from deepplan.models.random_weights import without_initialisation
from deepplan.models.zoo import Entry

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def construct(entry: Entry) -> torch.nn.Module:
    """The entry's architecture in its dtype on the CPU, in eval mode, without gradients; buffers have their values.

    The parameters of an entry `on_meta` lie on the meta device. The caller's default dtype and device play no part.
    """
    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(_DTYPES[entry.dtype])
    try:
        with torch.device("cpu"), without_initialisation(), _parameters_on_meta() if entry.on_meta else nullcontext():
            module = _resnet(entry) if entry.architecture == "ResNet" else _transformer(entry)
    finally:
        torch.set_default_dtype(default_dtype)
    return module.eval().requires_grad_(False)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Each parameter goes to the meta device when its module gets it, before its memory was touched.

    Unlike `torch.device("meta")`, this leaves buffers alone, which are computed and not weights.
    """
    thread = threading.get_ident()

    def to_meta(_: torch.nn.Module, __: str, parameter: torch.nn.Parameter) -> torch.nn.Parameter | None:
        if threading.get_ident() != thread or parameter.is_meta:
            return None
        return torch.nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


def _resnet(entry: Entry) -> torch.nn.Module:
    from deepplan.models.resnet import ResNet

    return ResNet(**entry.config)


def _transformer(entry: Entry) -> torch.nn.Module:
    import transformers

    config = getattr(transformers, f"{entry.architecture}Config")(attn_implementation="sdpa", **entry.config)
    module: torch.nn.Module = getattr(transformers, f"{entry.architecture}{entry.head}")(config)
    return module
