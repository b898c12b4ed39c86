"""The precisions a model can be run in: how its weights and inputs are cast, and whether products may use TF32."""

from __future__ import annotations

import copy
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils import _pytree

from deepplan.errors import InvalidInputError, UnknownNameError

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = tuple(_DTYPES)

_cudnn: Any = torch.backends.cudnn  # a class in disguise, whose members no checker sees
_all_kinds: Any = torch.backends
# What decides whether a kind of product uses TF32: its own switch, and those it follows while that is "none".
_SWITCHES: tuple[tuple[Any, ...], ...] = (
    (torch.backends.cuda.matmul, _cudnn, _all_kinds),
    (_cudnn.conv, _cudnn, _all_kinds),
    (_cudnn.rnn, _cudnn, _all_kinds),
)


def check_name(name: str | None) -> None:
    """Raises UnknownNameError unless `name` is a precision, or None for a model as it is."""
    if name is not None and name not in NAMES:
        raise UnknownNameError(f"no precision {name!r}; there are {', '.join(NAMES)}")


def prepare(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None
) -> tuple[torch.nn.Module, tuple[Any, ...], dict[str, Any]]:
    """The module and its inputs with every floating tensor in the precision's dtype; as they are for None.

    The user's module is never changed: it is returned itself where nothing has to be cast, else a cast copy is. One
    whose parameters all have the dtype keeps its buffers as they are: what is more precise there is meant to be.
    Raises InvalidInputError for a module that cannot be copied.
    """
    check_name(name)
    if name is None:
        return module, args, kwargs
    dtype = _DTYPES[name]
    weights = [*module.parameters(), *module.buffers()]
    parameters = {tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()}
    # Deep copies take what the memo has for an object: every weight is copied once, already cast, and stays tied.
    memo: dict[int, Any] = {
        id(tensor): _cast_weight(tensor, dtype)
        for tensor in (weights if parameters != {dtype} else ())
        if tensor.is_floating_point() and tensor.dtype != dtype
    }
    if memo:
        try:
            module = copy.deepcopy(module, memo)
        except Exception as error:  # whatever the parts of a user's module raise
            raise InvalidInputError(
                f"{type(module).__name__} cannot be copied to be cast to {name} ({error}); cast it and leave dtype out"
            ) from error
    args, kwargs = _pytree.tree_map(lambda leaf: _cast(leaf, dtype), (args, kwargs))
    return module, args, kwargs


def _cast(leaf: Any, dtype: torch.dtype) -> Any:
    return leaf.to(dtype) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf


def _cast_weight(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    cast = tensor.detach().to(dtype)
    return torch.nn.Parameter(cast, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else cast


def precision(name: str | None) -> AbstractContextManager[None]:
    """While it is entered, products (matrix products, convolutions, recurrences) of fp32 tensors use TF32 for "tf32",
    and do not for "fp32"; other precisions change nothing. Afterwards everything is set as it was before.

    torch has one setting for the whole process, so threads that want different ones wait for one another here, and
    only those. Takes some microseconds. Raises InvalidInputError inside the opposite precision of the same thread.
    """
    return _CONTEXTS.get(name or "", _UNCHANGED)


class _Tf32Setting(AbstractContextManager[None]):
    """One value of all switches; may be entered often and from many threads."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __enter__(self) -> None:
        _shared.enter(self._value)

    def __exit__(self, *_: object) -> None:
        _shared.leave()


class _SharedSwitches:
    """The process's switches: the first thread to enter sets them, the last to leave restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._value = ""
        self._entered: dict[int, int] = {}  # how often, by thread; none of them 0
        self._restore: list[tuple[Any, str]] = []

    def enter(self, value: str) -> None:
        thread = threading.get_ident()
        with self._lock:
            if self._entered and self._value != value:
                if thread in self._entered:
                    raise InvalidInputError("a model in fp32 cannot be called from within one in tf32, nor the reverse")
                self._left.wait_for(lambda: not self._entered or self._value == value)
            if not self._entered:
                self._restore = _set_all(value)
                self._value = value
            self._entered[thread] = self._entered.get(thread, 0) + 1

    def leave(self) -> None:
        thread = threading.get_ident()
        with self._lock:
            times = self._entered.pop(thread) - 1
            if times:
                self._entered[thread] = times
            if not self._entered:
                for switch, before in self._restore:
                    switch.fp32_precision = before
                self._left.notify_all()


def _set_all(value: str) -> list[tuple[Any, str]]:
    """Sets every switch that matters; returns those, with what restores them."""
    changed = []
    for switches in _SWITCHES:
        current = switches[0].fp32_precision
        if (current == "tf32") != (value == "tf32"):  # anything else is exact: "ieee", or "none" all the way up
            changed.append((switches[0], _own_value(switches, current)))
            switches[0].fp32_precision = value
    return changed


def _own_value(switches: tuple[Any, ...], current: str) -> str:
    """What is set at the first of `switches`, which reads `current`: while its own is "none", it reads as the next."""
    if current == "none" or len(switches) == 1 or switches[1].fp32_precision != current:
        return current
    # Equal: only trying tells whether it follows.
    above = _own_value(switches[1:], current)
    switches[1].fp32_precision = "ieee" if current == "tf32" else "tf32"
    follows: bool = switches[0].fp32_precision != current
    switches[1].fp32_precision = above
    return "none" if follows else current


_shared = _SharedSwitches()
# Legacy settings (`allow_tf32`) set these switches too, and read right again once they are restored.
_CONTEXTS: dict[str, AbstractContextManager[None]] = {"fp32": _Tf32Setting("ieee"), "tf32": _Tf32Setting("tf32")}
_UNCHANGED: AbstractContextManager[None] = nullcontext()
