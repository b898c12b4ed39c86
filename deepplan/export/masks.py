"""Lets transformers decide about attention masks as it does when it is not being traced.

While a model is traced, transformers (5.x) builds every attention mask as a tensor, even where none was given and
eager execution would pass none: SDPA then loses its fast path, and results differ in the last bits. Here its mask
helpers see the values of whatever does not depend on the model's inputs (positions counted from zero, a mask of
ones), and otherwise behave as under tracing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode, get_proxy_slot
from torch.utils._python_dispatch import _disable_current_modes

_MODULE = "transformers.masking_utils"
_DECIDING = ("_ignore_causal_mask_sdpa", "_ignore_bidirectional_mask_sdpa")


@contextmanager
def masks_as_in_eager() -> Iterator[None]:
    """Patches transformers' mask helpers, if transformers is loaded, for the time of an export."""
    module = sys.modules.get(_MODULE)
    if module is None:
        yield
        return
    patches: dict[str, Any] = {}
    if hasattr(module, "is_torchdynamo_exporting"):
        patches["is_torchdynamo_exporting"] = lambda: False
    if hasattr(module, "is_tracing"):
        patches["is_tracing"] = lambda tensor=None: isinstance(tensor, FakeTensor)
    if hasattr(module, "find_packed_sequence_indices"):
        patches["find_packed_sequence_indices"] = _none_if_none_in_eager(module.find_packed_sequence_indices)
    for name in _DECIDING:
        if hasattr(module, name):
            patches[name] = _with_known_mask(getattr(module, name))
    originals = {name: getattr(module, name) for name in patches}
    try:
        for name, patch in patches.items():
            setattr(module, name, patch)
        yield
    finally:
        for name, original in originals.items():
            setattr(module, name, original)


def known_value(traced: Any) -> torch.Tensor | None:
    """The value of a tensor being traced, or None if it depends on an input or a weight."""
    mode = get_proxy_mode()
    if mode is None or not isinstance(traced, torch.Tensor):
        return None
    slot = get_proxy_slot(traced, mode.tracer, None)
    if slot is None:
        return None
    with _disable_current_modes():
        value = _evaluate(slot.proxy.node, {})
    return value if isinstance(value, torch.Tensor) else None


def _evaluate(node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    """The value of `node` computed from constants only, else None."""
    if node in known:
        return known[node]
    value = None
    if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
        inputs = [_evaluate(source, known) for source in node.all_input_nodes]
        if all(item is not None for item in inputs) and _is_pure(node.target):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: known[source])
            value = node.target(*args, **kwargs)
    known[node] = value
    return value


def _is_pure(target: torch._ops.OpOverload) -> bool:
    return not target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in target.tags


def _none_if_none_in_eager(find: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    @wraps(find)
    def wrapper(position_ids: torch.Tensor) -> Any:
        value = known_value(position_ids)
        if value is not None:
            with _disable_current_modes():
                if find(value) is None:
                    return None
        return find(position_ids)

    return wrapper


def _with_known_mask(ignore: Callable[..., bool]) -> Callable[..., bool]:
    @wraps(ignore)
    def wrapper(padding_mask: torch.Tensor | None, *args: Any, **kwargs: Any) -> bool:
        value = known_value(padding_mask)
        if value is None:
            return ignore(padding_mask, *args, **kwargs)
        with _disable_current_modes():
            return bool(ignore(value, *args, **kwargs))

    return wrapper
