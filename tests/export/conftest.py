"""A reference interpreter of graphs, in Python: what the C++ executor must do, in as few lines as possible."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from deepplan.export.arguments import Argument, Device, DType, Layout, MemoryFormat, Slot, WeightRef
from deepplan.export.capture import capture
from deepplan.export.convert import Captured
from deepplan.export.graph import Graph
from deepplan.export.nesting import flatten, load, unflatten


class Interpreter:
    """Runs a captured graph on the CPU, forgetting each value when the graph says that it dies."""

    def __init__(self, captured: Captured) -> None:
        self.graph = captured.graph
        self.weights = []
        for weight in self.graph.weights:
            memory = captured.storages[weight.storage]
            dtype = getattr(torch, weight.dtype)
            view = torch.empty(0, dtype=dtype).set_(
                memory.untyped_storage(), weight.offset_bytes // dtype.itemsize, weight.shape, weight.stride
            )
            self.weights.append(view)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        slots: dict[int, Any] = {}
        for given, value in zip(self.graph.inputs, flatten(load(self.graph.in_spec), (args, kwargs)), strict=True):
            if given.kind == "tensor":
                assert (tuple(value.shape), str(value.dtype)) == (given.shape, f"torch.{given.dtype}")
                slots[given.slot] = value
            else:
                assert value == given.value
        regions: list[ExitStack] = []
        with torch.no_grad():
            for step in self.graph.steps:
                values = [self._value(value, slots) for value in step.args]
                named = {name: self._value(value, slots) for name, value in step.kwargs.items()}
                result = self._call(step.op, step.overload, values, named, regions)
                results = result if len(step.outputs) > 1 else (result,)
                slots.update({slot: item for slot, item in zip(step.outputs, results) if slot >= 0})
                for slot in step.frees:
                    del slots[slot]
        assert not regions
        leaves = [self._value(value, slots) for value in self.graph.outputs]
        return unflatten(load(self.graph.out_spec), iter(leaves))

    @staticmethod
    def _call(op: str, overload: str, args: list[Any], kwargs: dict[str, Any], regions: list[ExitStack]) -> Any:
        namespace, name = op.split("::")
        if op == "deepplan::list_get":
            return args[0][args[1]]
        if op == "deepplan::autocast_enter":
            regions.append(ExitStack())
            device, dtype, enabled, cache = args
            regions[-1].enter_context(torch.autocast(device, dtype, enabled, cache))
            return None
        if op == "deepplan::autocast_exit":
            return regions.pop().close()
        if namespace == "deepplan":
            return getattr(operator, name)(*args)
        return getattr(getattr(getattr(torch.ops, namespace), name), overload or "default")(*args, **kwargs)

    def _value(self, value: Argument, slots: dict[int, Any]) -> Any:
        if isinstance(value, Slot):
            return slots[value.index]
        if isinstance(value, WeightRef):
            return self.weights[value.index]
        if isinstance(value, (DType, MemoryFormat, Layout)):
            return getattr(torch, value.name)
        if isinstance(value, Device):
            return "cpu"
        return [self._value(item, slots) for item in value] if isinstance(value, tuple) else value


@pytest.fixture
def interpret() -> Callable[[Captured], Interpreter]:
    return Interpreter


@pytest.fixture
def check_against_eager() -> Callable[..., Captured]:
    """Captures a module, runs the graph as it is read back from JSON, and compares: equal to the bit, same classes."""

    def check(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Captured:
        captured = capture(module, args, kwargs)
        read = Captured(Graph.from_json(captured.graph.to_json()), captured.storages)
        with torch.no_grad():
            expected = module(*args, **kwargs)
        actual = Interpreter(read)(*args, **kwargs)
        leaves, spec = pytree.tree_flatten(actual)
        expected_leaves, expected_spec = pytree.tree_flatten(expected)
        assert type(actual) is type(expected) and spec == expected_spec
        for leaf, expected_leaf in zip(leaves, expected_leaves, strict=True):
            if isinstance(leaf, torch.Tensor):
                torch.testing.assert_close(leaf, expected_leaf, rtol=0, atol=0, equal_nan=True)
            else:
                assert leaf == expected_leaf
        return captured

    return check
