"""Refuses graphs that write to a weight or an input.

The host copy of the weights must stay valid for eviction to be free, and inputs belong to the caller. Undecomposed
graphs write in place without saying so in their signature, so each operator's schema is looked at; which memory a
value lies in is known from the fake tensors it was traced with, aliases included.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from deepplan.errors import ExportError

# Operators that write through an argument which their schema does not mark: (the argument that says so, the buffers).
_UNMARKED = {
    "aten::batch_norm": ("training", ("running_mean", "running_var")),
    "aten::instance_norm": ("use_input_stats", ("running_mean", "running_var")),
}
# Operators that return their input itself in eval mode, while tracing shows a fresh value.
_HIDDEN_ALIASES = frozenset(f"aten::{name}dropout" for name in ("", "feature_", "alpha_", "feature_alpha_"))
_HARMLESS = frozenset({"aten::detach_", "aten::requires_grad_"})  # write no values


class WriteGuard:
    """Knows the memory of every weight and input; `check` each call of the traced program against it."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._weights: set[int] = set()

    def protect(self, node: fx.Node, description: str, is_weight: bool = False) -> None:
        """Refuses later writes to the memory of `node`, which errors call `description`."""
        for memory in _memories(node):
            self._names.setdefault(memory, description)
            if is_weight:
                self._weights.add(memory)

    def is_weight(self, node: fx.Node) -> bool:
        """Whether `node` is a weight or a view of one."""
        return not self._weights.isdisjoint(_memories(node))

    def release(self, node: fx.Node) -> None:
        """Allows writes to the memory of `node`: it is a fresh copy, although tracing shows its source's memory."""
        for memory in _memories(node):
            self._names.pop(memory, None)
            self._weights.discard(memory)

    def check(self, node: fx.Node, target: torch._ops.OpOverload) -> None:
        """Raises ExportError if this call writes to protected memory, and follows memory that it passes on."""
        schema = target._schema
        arguments = {argument.name: value for argument, value in zip(schema.arguments, node.args)} | dict(node.kwargs)
        if schema.name in _UNMARKED:
            switch, buffers = _UNMARKED[schema.name]
            if arguments.get(switch):
                for buffer in buffers:
                    self._refuse(schema.name, arguments.get(buffer), "; call module.eval() first")
        elif schema.name in _HIDDEN_ALIASES:
            self._alias(node, node.args[0])
        elif schema.is_mutable and schema.name not in _HARMLESS:
            for argument in schema.arguments:
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._refuse(schema.name, arguments.get(argument.name), "")

    def _alias(self, node: fx.Node, source: Any) -> None:
        for memory in _memories(source):
            if memory in self._names:
                self.protect(node, self._names[memory], memory in self._weights)

    def _refuse(self, operator: str, value: Any, remedy: str) -> None:
        for item in value if isinstance(value, (list, tuple)) else (value,):
            for memory in _memories(item) if isinstance(item, fx.Node) else ():
                if memory in self._names:
                    raise ExportError(f"{operator} writes to {self._names[memory]} in place{remedy}")


def _memories(node: fx.Node) -> list[int]:
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else (value,)
    return [item.untyped_storage()._cdata for item in values if isinstance(item, torch.Tensor)]
