"""The calls of a traced program, one by one, as steps of a graph."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from deepplan.errors import ExportError
from deepplan.export.arguments import Argument, Device, DType, Layout, MemoryFormat, Slot
from deepplan.export.steps import DraftStep, Module
from deepplan.export.verify import SCALAR_OPERATORS
from deepplan.export.writes import WriteGuard

# Say something about values that tracing has relied on; they compute nothing.
_ASSERTIONS = frozenset(
    {
        "aten::_assert_async",
        "aten::_assert_scalar",
        "aten::_assert_tensor_metadata",
        "aten::_functional_assert_async",
        "aten::sym_constrain_range",
        "aten::sym_constrain_range_for_size",
    }
)
_NUMBERS = {getattr(operator, name): f"deepplan::{name}" for name in SCALAR_OPERATORS}


class CallRecorder:
    """Records calls as draft steps. `values` is what stands for each node of the program: a slot, a weight, a constant,
    or a tuple of these; the caller fills in the placeholders. `home` is the device that the program was traced on.
    """

    def __init__(self, guard: WriteGuard, home: torch.device) -> None:
        self.values: dict[fx.Node, Argument] = {}
        self.drafts: list[DraftStep] = []
        self._guard = guard
        self._home = home
        self._slots = 0
        self._list_items: dict[tuple[int, int], Slot] = {}

    def new_slot(self) -> Slot:
        """A slot that nothing else writes."""
        self._slots += 1
        return Slot(self._slots - 1)

    def emit(
        self,
        op: str,
        args: tuple[Argument, ...],
        module: Module,
        *,
        overload: str = "",
        kwargs: dict[str, Argument] | None = None,
        returns: int = 1,
        removable: bool = True,
    ) -> tuple[Slot, ...]:
        """Appends a step that writes `returns` new slots."""
        outputs = tuple(self.new_slot() for _ in range(returns))
        slots = tuple(slot.index for slot in outputs)
        self.drafts.append(DraftStep(op, overload, args, kwargs or {}, slots, module, removable))
        return outputs

    def call(self, owner: fx.GraphModule, node: fx.Node) -> None:
        """Records the call `node` of `owner`. Raises ExportError naming an operator that has no place in a graph."""
        target = node.target
        if isinstance(target, torch._ops.OpOverload):
            self._call_operator(node, target)
        elif isinstance(target, torch._ops.HigherOrderOperator):
            self._call_region(owner, node, str(target))
        elif target is operator.getitem:
            self.values[node] = self._get_item(node)
        elif target in _NUMBERS:
            op = _NUMBERS[target]
            args = tuple(self.encode(op, value) for value in node.args)
            self.values[node] = self.emit(op, args, _module(node, op))[0]
        else:
            raise ExportError(f"cannot export {getattr(target, '__name__', target)}: not an operator of the dispatcher")

    def encode(self, where: str, value: Any) -> Argument:
        """What stands for `value`, an argument of `where`, in a graph."""
        if value is None or isinstance(value, (bool, int, float, complex, str)):
            return value
        if isinstance(value, fx.Node):
            if value not in self.values:
                raise ExportError(f"{where} uses {value.name}, which is not a value that a graph can hold")
            return self.values[value]
        if isinstance(value, (list, tuple)):
            return tuple(self.encode(where, item) for item in value)
        if isinstance(value, torch.device):
            return self._device(where, value)
        for kind, tag in ((torch.dtype, DType), (torch.memory_format, MemoryFormat), (torch.layout, Layout)):
            if isinstance(value, kind):
                return tag(str(value).removeprefix("torch."))
        raise ExportError(f"{where} is given a {type(value).__name__}, which a graph cannot hold")

    def _call_operator(self, node: fx.Node, target: torch._ops.OpOverload) -> None:
        schema = target._schema
        if schema.name in _ASSERTIONS:
            return
        self._guard.check(node, target)
        if schema.name == "aten::lift_fresh_copy":
            self._guard.release(node)
        args = tuple(self.encode(schema.name, value) for value in node.args)
        kwargs = {name: self.encode(schema.name, value) for name, value in node.kwargs.items()}
        if _is_factory(schema) and kwargs.get("device") is None:
            kwargs["device"] = self._device(schema.name, torch.device("cpu"))
        random = torch.Tag.nondeterministic_seeded in target.tags
        outputs = self.emit(
            schema.name,
            args,
            _module(node, schema.name),
            overload=schema.overload_name,
            kwargs=kwargs,
            returns=len(schema.returns),
            removable=not (schema.is_mutable or random) and len(schema.returns) > 0,
        )
        self.values[node] = outputs[0] if len(outputs) == 1 else outputs

    def _call_region(self, owner: fx.GraphModule, node: fx.Node, name: str) -> None:
        """Inlines what a region does (gradient mode has no meaning here), between two steps if it is autocast."""
        if name == "wrap_with_set_grad_enabled":
            _, body, *operands = node.args
            self.values[node] = self._inline(owner, body, operands)
        elif name == "wrap_with_autocast":
            device, dtype, enabled, cache, body, *operands = node.args
            args = (
                self._device(name, torch.device(str(device))),
                self.encode(name, dtype),
                self.encode(name, enabled),
                self.encode(name, True if cache is None else cache),
            )
            first = len(self.drafts)
            self.values[node] = self._inline(owner, body, operands)
            inside = self.drafts[first:]
            begin, end = (inside[0].module, inside[-1].module) if inside else (_module(node, name), _module(node, name))
            self.drafts.insert(first, DraftStep("deepplan::autocast_enter", "", args, {}, (), begin, False))
            self.drafts.append(DraftStep("deepplan::autocast_exit", "", (), {}, (), end, False))
        else:
            raise ExportError(f"cannot export the higher-order operator {name}; write that part without it")

    def _inline(self, owner: fx.GraphModule, body: Any, operands: list[Any]) -> Argument:
        inner = getattr(owner, str(body.target))
        given = iter(operands)
        for node in inner.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self.encode("a region", next(given))
            elif node.op == "call_function":
                self.call(inner, node)
            elif node.op == "output":
                return self.encode("a region", node.args[0])
        raise ExportError(f"the region {body.target} returns nothing")

    def _get_item(self, node: fx.Node) -> Argument:
        sequence, index = self.encode("getitem", node.args[0]), node.args[1]
        if isinstance(sequence, tuple) and isinstance(index, int):
            item: Argument = sequence[index]
            return item
        if not isinstance(sequence, Slot) or not isinstance(index, int):
            raise ExportError(f"cannot export the item {index} of {node.args[0]}: only lists have items, by number")
        key = (sequence.index, index)
        if key not in self._list_items:
            op = "deepplan::list_get"
            self._list_items[key] = self.emit(op, (sequence, index), _module(node, op))[0]
        return self._list_items[key]

    def _device(self, where: str, device: torch.device) -> Device:
        """Constants name the device that the model was exported on; the session may run on another."""
        if device.type == self._home.type and device.index in (None, 0, self._home.index):
            return Device("target")
        if device.type == "cpu":
            return Device("cpu")
        raise ExportError(
            f"{where} asks for device {device} while the model lies on {self._home}; use the input's device"
        )


def _is_factory(schema: torch._C.FunctionSchema) -> bool:
    """Whether the operator makes a tensor out of numbers: without a device it makes it on the CPU."""
    names = {argument.name for argument in schema.arguments}
    takes_tensor = any("Tensor" in str(argument.type) for argument in schema.arguments)
    return "device" in names and not takes_tensor and any("Tensor" in str(item.type) for item in schema.returns)


def _module(node: fx.Node, op: str) -> Module:
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return Module(op.rpartition("::")[2], op.rpartition("::")[2])
    call, (path, kind) = list(stack.items())[-1]
    type_name = (kind if isinstance(kind, str) else kind.__qualname__).rpartition(".")[2]
    return Module(path or type_name, type_name, call)
